/** For a type that valibot infers TypeScript names each field twice, at the same place: no reason for a warning. */
export function load(app) {
  const { logger } = app;
  const warn = logger.warn.bind(logger);
  logger.warn = (text, ...rest) => {
    if (!/^\w+ has multiple declarations with a comment/.test(text)) warn(text, ...rest);
  };
}
