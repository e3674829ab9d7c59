// <vae-machine>: a drawn face → encoder → mean and spread of each latent → a draw → decoder →
// picture. Everything on it can be moved, and what follows from it moves along. A band shows two
// spreads about a latent's mean, on a paler one of the prior's two.

const LATENT_RANGE = 6; // standard deviations of the prior, either way
const DRAW_MS = 500; // between two draws while it keeps drawing

class VaeMachine extends LiveElement {
  #beta = 1;
  #factors = {};
  #seen; // the server's latest look
  #drawing = 0;
  #fromPrior = false;
  #move = 0; // the latest; a picture that an earlier one asked for comes too late

  connect(server, trigger, { sliders, start }) {
    [this.input, this.output] = this.all("canvas");
    this.look = newest(server.look, (seen) => (seen.error ? this.say(seen.error) : this.#see(seen)));
    this.decode = newest(server.decode, (picture, { move }) => move === this.#move && this.#show(picture));
    const clicks = {
      again: () => this.draw(false),
      prior: () => this.draw(true),
      keep: ({ target }) => this.#keep(target),
      mean: () => this.#set(this.#seen.mean),
      another: async () => this.#become(await server.someone(Math.floor(Math.random() * 1e6))),
    };
    for (const [name, click] of Object.entries(clicks)) this.find(`.${name}`).addEventListener("click", click);
    this.find(".betas").addEventListener("change", (event) => {
      this.#beta = +event.target.value;
      this.#look();
    });
    this.sliders = sliders.map(({ name, low, high, step }) => {
      const label = document.createElement("label");
      label.className = "row";
      label.innerHTML = `<span>${name === "yaw" ? "turn" : name}</span><input type="range" class="slider" min="${low}" max="${high}" step="${step}">`;
      const slider = label.lastChild;
      slider.name = name;
      slider.addEventListener("input", () => this.#become({ ...this.#factors, [name]: slider.valueAsNumber }));
      this.find(".factors").append(label);
      return slider;
    });
    this.#become(start);
  }

  get z() { return this.all(".latents input").map((slider) => slider.valueAsNumber); }

  // z = mean + spread · ε, ε from N(0, I): the reparameterisation trick.
  draw(fromPrior = this.#fromPrior) {
    this.#fromPrior = fromPrior;
    const { mean, std } = this.#seen;
    this.#set(mean.map((middle, i) => (fromPrior ? normal() : middle + std[i] * normal())));
  }

  #become(factors) {
    this.#factors = { ...factors };
    for (const slider of this.sliders) {
      slider.value = factors[slider.name];
      fillTrack(slider);
    }
    this.#look();
  }

  #look() { this.look({ beta: this.#beta, factors: this.#factors }); }

  async #see(seen) {
    this.#seen = seen;
    this.#move++;
    if (!this.find(".latents label")) this.#layRows(seen.mean.length);
    this.all(".latents label").forEach((row, i) => {
      row.style.setProperty("--mean", seen.mean[i] / LATENT_RANGE);
      row.style.setProperty("--std", seen.std[i] / LATENT_RANGE);
      row.querySelector("input").value = seen.mean[i];
      row.querySelector("output").textContent = seen.nats[i].toFixed(1);
    });
    const nats = seen.nats.reduce((a, b) => a + b);
    const spread = seen.std.reduce((a, b) => a + b) / seen.std.length;
    this.say(`KL ${nats.toFixed(0)} nats · spread ${(100 * spread).toFixed(0)} % of the prior's · likeness ${seen.psnr.toFixed(1)} dB`);
    for (const lesson of this.all(".lesson")) lesson.hidden = !lesson.matches(`.beta-${this.#beta}`);
    await Promise.all([paint(this.input, seen.input), this.#show(seen.output)]);
  }

  #layRows(many) {
    for (let i = 1; i <= many; i++) {
      const row = document.createElement("label");
      row.innerHTML = `<span>z<sub>${i}</sub></span>
        <input type="range" min="${-LATENT_RANGE}" max="${LATENT_RANGE}" step="0.01" aria-label="Latent ${i}">
        <output title="nats of the KL divergence"></output>`;
      row.querySelector("input").addEventListener("input", () => this.#set(this.z));
      this.find(".latents").append(row);
    }
  }

  #set(z) {
    this.all(".latents input").forEach((slider, i) => (slider.value = z[i]));
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

// Box and Muller's standard normal.
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

customElements.define("vae-machine", VaeMachine);
