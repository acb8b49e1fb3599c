// The one thing of Node that is used, in `node.ts`: its types as a whole would change those of the platform.
declare module 'node:module' {
  export function createRequire(url: string): (name: string) => any;
}
