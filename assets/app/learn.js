// <vae-machine>: a drawn face → encoder → mean and spread of each latent → a draw → decoder →
// picture. Everything on it can be moved, and what follows from it moves along. A band shows two
// spreads about a latent's mean, on a paler one of the prior's two.

const LATENT_RANGE = 6; // standard deviations of the prior, either way, as of the page's sliders
const DRAW_MS = 500; // between two draws while it keeps drawing

class VaeMachine extends LiveElement {
  #beta = 1;
  #factors = {};
  #seen; // the server's latest look
  #drawing = 0;
  #fromPrior = false;
  #move = 0; // the latest; a picture that an earlier one asked for comes too late

  connect(server) {
    [this.input, this.output] = this.all("canvas");
    this.look = newest(server.look, (seen) => (seen.error ? this.say(seen.error) : this.#see(seen)));
    this.decode = newest(server.decode, (picture, { move }) => move === this.#move && this.#show(picture));
    this.on(".again", "click", () => this.draw(false));
    this.on(".prior", "click", () => this.draw(true));
    this.on(".keep", "click", ({ target }) => this.#keep(target));
    this.on(".mean", "click", () => this.#set(this.#seen.mean));
    this.on(".another", "click", async () => this.#become(await server.someone(Math.floor(Math.random() * 1e6))));
    this.on(".latents input", "input", () => this.#set(this.z));
    this.on(".betas", "change", ({ target }) => this.#become(this.#factors, (this.#beta = +target.value)));
    this.on(".factors input", "input", ({ target }) => this.#become({ ...this.#factors, [target.name]: target.valueAsNumber }));
    const start = Object.fromEntries(this.all(".factors input").map(({ name, valueAsNumber }) => [name, valueAsNumber]));
    this.#become({ ...start, hair_shade: 0.75 });
  }

  get z() { return this.all(".latents input").map((slider) => slider.valueAsNumber); }

  // z = mean + spread · ε, ε from N(0, I): the reparameterisation trick.
  draw(fromPrior = this.#fromPrior) {
    this.#fromPrior = fromPrior;
    const { mean, std } = this.#seen;
    this.#set(mean.map((middle, i) => (fromPrior ? normal() : middle + std[i] * normal())));
  }

  #become(factors) {
    this.#factors = factors;
    for (const slider of this.all(".factors input")) fillTrack(Object.assign(slider, { value: factors[slider.name] }));
    this.look({ beta: this.#beta, factors });
  }

  async #see(seen) {
    this.#seen = seen;
    this.#move++;
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

  #set(z) {
    this.all(".latents input").forEach((slider, i) => (slider.value = z[i]));
    this.decode({ beta: this.#beta, z, move: ++this.#move });
  }

  async #show(picture) { await paint(this.output, picture); this.toggleAttribute("ready", true); }

  #keep(button) {
    clearInterval(this.#drawing);
    const on = (button.ariaPressed = button.ariaPressed !== "true");
    this.#drawing = on ? setInterval(() => this.offsetParent && this.draw(), DRAW_MS) : 0;
    if (on) this.draw();
  }
}

// Box and Muller's standard normal.
function normal() { return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()); }

customElements.define("vae-machine", VaeMachine);
