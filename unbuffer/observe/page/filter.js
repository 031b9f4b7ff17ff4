// Which streams the list shows. The choice stands in the address, so that it can be sent to somebody.

import { BUFFERED, ending } from "./format.js";

export class Filter {
  constructor(changed) {
    this.problems = document.getElementById("problems");
    this.route = document.getElementById("route");
    const asked = new URL(location.href).searchParams;
    this.problems.checked = asked.has("problems");
    this.add(asked.get("route"));
    this.route.value = asked.get("route") ?? "";
    for (const field of [this.problems, this.route]) {
      field.addEventListener("change", () => {
        this.keep();
        changed();
      });
    }
  }

  keep() {
    const url = new URL(location.href);
    url.searchParams.delete("problems");
    url.searchParams.delete("route");
    if (this.problems.checked) url.searchParams.set("problems", "1");
    if (this.route.value) url.searchParams.set("route", this.route.value);
    history.replaceState(null, "", url);
  }

  // The routes there are to choose from: all that were seen.
  offer(streams) {
    for (const { route } of streams) this.add(route);
  }

  add(route) {
    if (!route || [...this.route.options].some((option) => option.value === route)) return;
    this.route.append(new Option(route, route));
  }

  of(streams) {
    return streams.filter(
      (stream) =>
        (!this.route.value || stream.route === this.route.value) && (!this.problems.checked || Filter.troubled(stream)),
    );
  }

  static troubled(stream) {
    return ending(stream) === "badly" || stream.status >= 500 || BUFFERED.includes(stream.verdict) || stream.paused;
  }
}
