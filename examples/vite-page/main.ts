import type { News, Order } from './messages.ts';

const element = <T extends HTMLElement>(selector: string): T => document.querySelector<T>(selector)!;
const status = element('#status');
const drop = element('#drop');
const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
let name = 'image';

worker.onmessage = ({ data: news }: MessageEvent<News>) => {
  if (news.kind === 'ready') {
    status.textContent = `Ready, on ${news.adapter}.`;
    element<HTMLAnchorElement>('#key').href = URL.createObjectURL(new Blob([news.key]));
  } else if (news.kind === 'progress') status.textContent = `Marking: ${news.iteration} of ${news.of}`;
  else if (news.kind === 'failed') status.textContent = news.message;
  else {
    const url = URL.createObjectURL(new Blob([news.png], { type: 'image/png' }));
    element<HTMLImageElement>('#after').src = url;
    Object.assign(element<HTMLAnchorElement>('#save'), { href: url, download: `${name}.marked.png` });
    element('figure').hidden = false;
    status.textContent = `Marked: PSNR ${news.psnr.toFixed(1)} dB.`;
  }
};
worker.onerror = ({ message }) => {
  status.textContent = message;
};

async function choose(file: File | null | undefined): Promise<void> {
  if (!file) return;
  name = file.name;
  element<HTMLImageElement>('#before').src = URL.createObjectURL(file);
  const order: Order = { name, file: new Uint8Array(await file.arrayBuffer()) };
  worker.postMessage(order);
}

drop.ondragover = (event) => event.preventDefault();
drop.ondrop = (event) => {
  event.preventDefault();
  void choose(event.dataTransfer?.files[0]);
};
element<HTMLInputElement>('input').onchange = ({ target }) => void choose((target as HTMLInputElement).files?.[0]);
