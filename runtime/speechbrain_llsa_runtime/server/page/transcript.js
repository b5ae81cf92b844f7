/** The text on the page. */

/** Words, committed for good, and the provisional text after them. */
export class Transcript {
  /**
   * @param {HTMLElement} committed
   * @param {HTMLElement} provisional
   */
  constructor(committed, provisional) {
    this.committed = committed;
    this.provisional = provisional;
    this.box = committed.parentElement;
    this.clear();
  }

  /** The committed text, a line for each segment. */
  get text() {
    return this.committed.textContent.trim();
  }

  /** Removes all text. */
  clear() {
    this.words = [];
    this.segment = 0;
    this.committed.replaceChildren();
    this.revise("");
  }

  /**
   * Adds words.
   * @param {{text: string, start: number, end: number, confidence: number}[]}
   *   words
   * @param {boolean} closes whether their segment ends with them
   */
  commit(words, closes) {
    if (words.length) {
      this.keepingEndInView(() => this.add(words));
    }
    if (closes) {
      this.segment += 1;
    }
  }

  /**
   * Replaces the provisional text.
   * @param {string} text
   */
  revise(text) {
    this.keepingEndInView(() => {
      this.provisional.textContent = text;
    });
  }

  add(words) {
    // one element, which a screen reader reads in one go
    const group = document.createElement("span");
    for (const word of words) {
      group.append(this.separator(), makeElement(word));
      this.words.push({ ...word, segment: this.segment });
    }
    this.committed.append(group);
  }

  separator() {
    if (!this.words.length) {
      return "";
    }
    return this.words.at(-1).segment === this.segment ? " " : "\n";
  }

  keepingEndInView(change) {
    const { box } = this;
    const below = box.scrollHeight - box.scrollTop - box.clientHeight;
    change();
    if (below < 2) {
      box.scrollTop = box.scrollHeight;
    }
  }
}

function makeElement({ text, start, end, confidence }) {
  const element = document.createElement("span");
  element.className = "word";
  element.textContent = text;
  element.title =
    `${start.toFixed(2)} to ${end.toFixed(2)} s, ` +
    `confidence ${Math.round(confidence * 100)} %`;
  return element;
}
