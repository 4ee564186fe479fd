import { bytesToHex } from '@noble/hashes/utils.js';
import { SignedData } from '@peculiar/asn1-cms';
import { TimeStampResp, TSTInfo } from '@peculiar/asn1-tsp';
import { parseDer } from './der.ts';

/** What of a time-stamp reply is mixed in, unchecked; undefined if it is none, or not granted. */
export function readStamp(
  reply: Uint8Array,
): { imprint: string; serial: Uint8Array; signature: Uint8Array; time: string } | undefined {
  try {
    const { timeStampToken } = parseDer(reply, TimeStampResp);
    const { encapContentInfo, signerInfos } = parseDer(new Uint8Array(timeStampToken!.content), SignedData);
    const info = parseDer(new Uint8Array(encapContentInfo.eContent!.single!.buffer), TSTInfo);
    if (signerInfos.length !== 1) return undefined;
    return {
      imprint: bytesToHex(new Uint8Array(info.messageImprint.hashedMessage.buffer)),
      serial: new Uint8Array(info.serialNumber),
      signature: new Uint8Array(signerInfos[0].signature.buffer),
      time: info.genTime.toISOString(),
    };
  } catch {
    return undefined;
  }
}
