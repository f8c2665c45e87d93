import EventSourceWrapper from "tidings";

/** The events of this stream: their data, by type. */
interface Events extends Record<string, unknown> {
  message: { text: string };
  price: { name: string; price: number };
}

const source = new EventSourceWrapper<Events>("/.well-known/mercure", {
  topics: ["https://example.com/prices"],
  parse: JSON.parse,
  shared: "auto",
});

const state = document.querySelector("#state")!;
const prices = document.querySelector("#prices")!;

source.onOpen(() => (state.textContent = "open"));
source.onError(({ message, nextDelay }) => (state.textContent = `${message}, again in ${nextDelay} ms`));
source.on("price", ({ data }) => {
  const item = document.createElement("li");
  item.textContent = `${data.name}: ${data.price.toFixed(2)}`;
  prices.prepend(item);
});
