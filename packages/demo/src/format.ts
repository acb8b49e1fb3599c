// How numbers and times look on the page.

/** Nanoseconds as microseconds with a sensible number of digits. */
export function micros(ns: number): string {
  const us = ns / 1_000;
  if (us >= 100) return us.toFixed(0);
  return us >= 10 ? us.toFixed(1) : us.toFixed(2);
}

/** Milliseconds as `14:59`, or `3:02:10` from an hour on; never negative. */
export function countdown(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  const pad = (value: number): string => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3_600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds % 60)}` : `${minutes}:${pad(seconds % 60)}`;
}

/** Local time of day, to the second. */
export function clock(at: number | Date): string {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function bytes(count: number): string {
  return count < 1_024 ? `${Math.round(count)} B` : `${Number((count / 1_024).toFixed(1))} KiB`;
}

/** What a size is told in: how many bytes that is, and the name behind the number. */
export function unitOf(size: number): [number, string] {
  return size >= 1_048_576 ? [1_048_576, " MiB"] : size >= 1_024 ? [1_024, " KiB"] : [1, " B"];
}

/** At most `max` characters of `value`, with its length when it was longer. */
export function short(value: string, max: number): string {
  return value.length <= max ? value : `${value.slice(0, max)}… (${value.length} characters)`;
}
