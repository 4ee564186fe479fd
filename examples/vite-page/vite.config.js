// Workers are modules that load their parts when they are needed.
export default { worker: { format: 'es' }, build: { target: 'es2023' } };
