// What a chart is: an element that draws its data at the width it has, and again when either changes.

export class DrawnElement extends HTMLElement {
  #data = null;
  #width = 0;
  #watch = new ResizeObserver(() => this.#fit());

  get data() {
    return this.#data;
  }

  set data(data) {
    if (data === this.#data) return;
    this.#data = data;
    if (this.#width) this.draw(data, this.#width);
  }

  connectedCallback() {
    this.#watch.observe(this);
    this.#fit();
  }

  disconnectedCallback() {
    this.#watch.disconnect();
  }

  redraw() {
    if (this.#data && this.#width) this.draw(this.#data, this.#width);
  }

  #fit() {
    const width = Math.floor(this.clientWidth);
    if (!width || width === this.#width) return;
    this.#width = width;
    this.redraw();
  }
}
