// Runs the script of a page with as much of a browser as it needs, on the document given; prints the text that it shows.
import fs from "node:fs";

const [page, described] = process.argv.slice(2);

class Element {
  children = [];
  append(...more) { this.children.push(...more); }
  replaceChildren(...all) { this.children = all; }
  set textContent(text) { this.children = [text]; }
  get text() { return this.children.map(one => one instanceof Element ? one.text : String(one)).join("\n"); }
}

const main = new Element(), about = new Element();
globalThis.document = {
  createElement: () => new Element(),
  getElementById: () => about,
  querySelector: () => main,
};
globalThis.fetch = async path => ({ json: async () => JSON.parse(fs.readFileSync(described, "utf8")), path });
(0, eval)(fs.readFileSync(page, "utf8").match(/<script>([\s\S]*)<\/script>/)[1]);
process.once("beforeExit", () => process.stdout.write(`${about.text}\n${main.text}`));
