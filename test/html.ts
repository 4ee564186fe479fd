import { type DefaultTreeAdapterTypes, html, parse } from 'parse5';

type Element = DefaultTreeAdapterTypes.Element;
type Node = DefaultTreeAdapterTypes.Node;

/** A page as a browser reads it. */
export interface ParsedPage {
  /** What is not as the HTML standard wants it. */
  readonly errors: readonly string[];
  readonly elements: readonly Element[];
  /** Elements of a name, in document order. */
  of(name: string): readonly Element[];
  /** The text of an element or the page, without styles. */
  text(of?: Node): string;
}

export function parsePage(source: string): ParsedPage {
  const errors: string[] = [];
  const document = parse(source, {
    onParseError: ({ code, startLine, startCol }) => errors.push(`${code} at ${startLine}:${startCol}`),
  });
  const elements: Element[] = [];
  const visit = (node: Node): void => {
    if ('tagName' in node) elements.push(node);
    if ('childNodes' in node) node.childNodes.forEach(visit);
  };
  visit(document);
  const text = (node: Node = document): string => {
    if ('value' in node) return node.value;
    if ('tagName' in node && node.tagName === 'style') return '';
    return 'childNodes' in node ? node.childNodes.map(text).join('') : '';
  };
  return { errors, elements, of: (name) => elements.filter(({ tagName }) => tagName === name), text };
}

/** What in a page could run, or reach beyond it: nothing should. */
export function dangersOf({ elements }: ParsedPage): string[] {
  const found: string[] = [];
  for (const { tagName, attrs, namespaceURI } of elements) {
    if (namespaceURI !== html.NS.HTML && namespaceURI !== html.NS.SVG) found.push(`${tagName} of ${namespaceURI}`);
    if (['script', 'iframe', 'object', 'embed', 'link', 'base', 'form', 'foreignObject', 'use'].includes(tagName))
      found.push(tagName);
    for (const { name, value } of attrs) {
      if (/^on/i.test(name) || name === 'style') found.push(`${tagName} ${name}`);
      if (/^(src|href|xlink:href|action|srcset)$/i.test(name) && !value.startsWith('data:image/png;base64,'))
        found.push(`${tagName} ${name}="${value}"`);
    }
  }
  return found;
}
