// <vae-machine>: a drawn face → encoder → mean and spread of each latent → a draw → decoder →
// picture. Everything on it can be moved, and what follows from it moves along. A band shows two
// spreads about a latent's mean, on a paler one of the prior's two.

const LATENT_RANGE = 6; // standard deviations of the prior, either way
const DRAW_MS = 500; // between two draws while it keeps drawing

class VaeMachine extends HTMLElement {
  #beta = 1;
  #factors = {};
  #seen; // the server's latest look
  #drawing = 0;
  #fromPrior = false;
  #move = 0; // the latest; a picture that an earlier one asked for comes too late

  connectedCallback() {
    if (this.input) return;
    this.innerHTML = `
      <div class="top">
        <span>Weight of the KL divergence</span>
        <div class="choice betas" role="radiogroup" aria-label="β"></div>
      </div>
      <section class="in">
        <h2>A face</h2>
        <canvas width="64" height="64" role="img" aria-label="The drawn face"></canvas>
      </section>
      <div class="arrow encoder"><span>encoder</span><i></i></div>
      <section class="code">
        <h2>Ten latents <small>each a mean and a spread</small></h2>
        <div class="latents"></div>
        <p class="said" role="status"></p>
      </section>
      <div class="arrow decoder"><span>decoder</span><i></i></div>
      <section class="out">
        <h2>Drawn from them</h2>
        <canvas width="64" height="64" role="img" aria-label="The decoder's picture"></canvas>
      </section>
      <section class="factors"><button type="button" class="another">Another face</button></section>
      <section class="draws">
        <button type="button" class="again">Draw again</button>
        <button type="button" class="prior">Draw from the prior</button>
        <button type="button" class="keep" aria-pressed="false">Keep drawing</button>
        <button type="button" class="mean">Back to the mean</button>
      </section>
      <p class="lesson"></p>`;
    const find = (selector) => this.querySelector(selector);
    [this.input, this.output] = this.querySelectorAll("canvas");
    [this.rows, this.said, this.lesson] = [".latents", ".said", ".lesson"].map(find);
    find(".again").addEventListener("click", () => this.draw(false));
    find(".prior").addEventListener("click", () => this.draw(true));
    find(".keep").addEventListener("click", (event) => this.#keep(event.target));
    find(".mean").addEventListener("click", () => this.#set(this.#seen.mean));
    find(".another").addEventListener("click", () => this.someone(Math.floor(Math.random() * 1e6)));
  }

  connect(server, trigger, { betas, sliders, start }) {
    this.server = server;
    this.look = newest(server.look, (seen) => this.#see(seen));
    this.decode = newest(server.decode, (picture, { move }) => move === this.#move && this.#show(picture));
    this.querySelector(".betas").innerHTML = betas
      .map((beta, i) => `<label><input type="radio" name="beta" value="${beta}" ${i ? "" : "checked"}> β = ${beta}</label>`)
      .join("");
    this.querySelector(".betas").addEventListener("change", (event) => {
      this.#beta = +event.target.value;
      this.#look();
    });
    this.sliders = sliders.map(({ name, low, high, step }) => {
      const label = document.createElement("label");
      label.innerHTML = `<span>${name === "yaw" ? "turn" : name}</span><input type="range" min="${low}" max="${high}" step="${step}">`;
      const slider = label.lastChild;
      slider.name = name;
      slider.addEventListener("input", () => {
        this.#factors[name] = slider.valueAsNumber;
        this.#look();
      });
      this.querySelector(".factors").append(label);
      return slider;
    });
    this.#become(start);
  }

  get z() {
    return [...this.rows.querySelectorAll("input")].map((slider) => slider.valueAsNumber);
  }

  async someone(seed) {
    this.#become(await this.server.someone(seed));
  }

  // z = mean + spread · ε, ε from N(0, I): the reparameterisation trick.
  draw(fromPrior = this.#fromPrior) {
    this.#fromPrior = fromPrior;
    const { mean, std } = this.#seen;
    this.#set(mean.map((middle, i) => (fromPrior ? normal() : middle + std[i] * normal())));
  }

  #become(factors) {
    this.#factors = { ...factors };
    for (const slider of this.sliders) slider.value = factors[slider.name];
    this.#look();
  }

  #look() {
    this.look({ beta: this.#beta, factors: this.#factors });
  }

  async #see(seen) {
    this.#seen = seen;
    this.#move++;
    if (this.rows.children.length !== seen.mean.length) this.#layRows(seen.mean.length);
    [...this.rows.children].forEach((row, i) => {
      row.style.setProperty("--mean", seen.mean[i] / LATENT_RANGE);
      row.style.setProperty("--std", seen.std[i] / LATENT_RANGE);
      row.querySelector("input").value = seen.mean[i];
      row.querySelector("output").textContent = seen.nats[i].toFixed(1);
    });
    const nats = seen.nats.reduce((a, b) => a + b);
    const spread = seen.std.reduce((a, b) => a + b) / seen.std.length;
    this.said.textContent = `KL ${nats.toFixed(0)} nats · spread ${(100 * spread).toFixed(0)} % of the prior's · likeness ${seen.psnr.toFixed(1)} dB`;
    this.lesson.textContent = LESSONS[this.#beta] || "";
    await Promise.all([paint(this.input, seen.input), this.#show(seen.output)]);
  }

  #layRows(many) {
    const rows = Array.from({ length: many }, (_, i) => {
      const row = document.createElement("label");
      row.innerHTML = `<span>z<sub>${i + 1}</sub></span>
        <input type="range" min="${-LATENT_RANGE}" max="${LATENT_RANGE}" step="0.01" aria-label="Latent ${i + 1}">
        <output title="nats of the KL divergence"></output>`;
      row.querySelector("input").addEventListener("input", () => this.#set(this.z));
      return row;
    });
    this.rows.replaceChildren(...rows);
  }

  #set(z) {
    this.rows.querySelectorAll("input").forEach((slider, i) => (slider.value = z[i]));
    this.decode({ beta: this.#beta, z, move: ++this.#move });
  }

  async #show(picture) {
    await paint(this.output, picture);
    this.toggleAttribute("ready", true);
  }

  #keep(button) {
    clearInterval(this.#drawing);
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    this.#drawing = on ? setInterval(() => this.offsetParent && this.draw(), DRAW_MS) : 0;
    if (on) this.draw();
  }
}

const LESSONS = {
  1: "β = 1 is the ELBO itself. Each spread is some 2 % of the prior's, so draws of a face look alike. But the codes lie far from the prior: what is drawn from it is hardly a face.",
  10: "At β = 10 a nat costs ten times as much. The spreads double and the codes move together: from the prior come faces, some of them faded.",
  50: "At β = 50 the codes have moved into the prior, so what is drawn from it is a face. Likeness has hardly suffered: only how finely the code is written.",
};

// Box and Muller's standard normal.
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

customElements.define("vae-machine", VaeMachine);
