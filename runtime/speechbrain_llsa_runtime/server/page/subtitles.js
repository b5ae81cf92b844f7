/** Words with times as SubRip, as the commands write it. */

const LINE_CHARACTERS = 42;
const LINES = 2;
const LONGEST_CUE_SECONDS = 6;
const PAUSE_SECONDS = 1;

/**
 * Formats words as SubRip subtitles.
 * @param {{text: string, start: number, end: number, segment: number}[]} words
 */
export function toSrt(words) {
  return makeCues(words)
    .map(
      (cue, index) =>
        `${index + 1}\n${clock(cue[0].start)} --> ${clock(cue.at(-1).end)}\n` +
        `${makeLines(cue).join("\n")}\n`,
    )
    .join("\n");
}

function makeCues(words) {
  const cues = [];
  for (const word of words) {
    if (!cues.length || !fits(cues.at(-1), word)) {
      cues.push([]);
    }
    cues.at(-1).push(word);
  }
  return cues;
}

function fits(cue, word) {
  return (
    word.segment === cue[0].segment &&
    word.start - cue.at(-1).end < PAUSE_SECONDS &&
    word.end - cue[0].start <= LONGEST_CUE_SECONDS &&
    makeLines([...cue, word]).length <= LINES
  );
}

function makeLines(words) {
  const lines = [];
  for (const { text } of words) {
    const longer = lines.length ? `${lines.at(-1)} ${text}` : text;
    if (lines.length && longer.length <= LINE_CHARACTERS) {
      lines[lines.length - 1] = longer;
    } else {
      lines.push(text);
    }
  }
  return lines;
}

function clock(seconds) {
  const milliseconds = Math.round(seconds * 1000);
  const part = (unit, size, digits) =>
    String(Math.floor(milliseconds / unit) % size).padStart(digits, "0");
  const time = [part(3600000, 100, 2), part(60000, 60, 2), part(1000, 60, 2)];
  return `${time.join(":")},${part(1, 1000, 3)}`;
}
