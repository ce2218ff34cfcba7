export { SottoError } from './error.js';
export { Sotto } from './page/sotto.js';
export type * from './types.js';
