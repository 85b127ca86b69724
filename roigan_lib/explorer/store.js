// Two small things that both back ends share: a store of values that tells of changes, and a worker that is asked questions.

export class Store {
  constructor(values) {
    this.values = values;
    this.listeners = new Map();
  }
  get(name) { return this.values[name]; }
  set(name, value) {
    const before = this.values[name];
    this.values[name] = value;
    if (before !== value && JSON.stringify(before) !== JSON.stringify(value)) this.tell(`change:${name}`);
  }
  put(values) { // all at once: listeners see the whole of it
    const changed = Object.keys(values).filter((name) => this.values[name] !== values[name]);
    Object.assign(this.values, values);
    for (const name of changed) this.tell(`change:${name}`);
  }
  tell(event, ...rest) { for (const action of [...(this.listeners.get(event) ?? [])]) action(...rest); }
  on(names, action) {
    for (const name of names.split(" ")) this.listeners.set(name, [...(this.listeners.get(name) ?? []), action]);
  }
  off(name, action) { this.listeners.set(name, (this.listeners.get(name) ?? []).filter((one) => one !== action)); }
  save_changes() {}
}

// A worker as a function: a question, a promise of its answer. It is started from the text of its script: then it is under the
// page's security policy, which from an address of its own it would not be.
export function hire(script, stopped) {
  const worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })), { type: "module" });
  const open = new Map(), early = [];
  let ready = false, count = 0;
  worker.onmessage = ({ data }) => {
    if (data.ready) { ready = true; for (const question of early) worker.postMessage(question); return; }
    const { good, bad } = open.get(data.id);
    open.delete(data.id);
    if ("error" in data) bad(new Error(data.error)); else good(data);
  };
  worker.onerror = (event) => {
    const why = event.message || "its script did not load";
    for (const { bad } of open.values()) bad(new Error(why));
    stopped?.(why);
  };
  const ask = (content) => new Promise((good, bad) => {
    const question = { ...content, id: ++count };
    open.set(question.id, { good, bad });
    if (ready) worker.postMessage(question); else early.push(question);
  });
  ask.dismiss = () => worker.terminate();
  return ask;
}

// The other side of it: `work` has a function for each question; they are answered one at a time.
export function serve(work) {
  let last = Promise.resolve();
  self.onmessage = ({ data }) => {
    last = last.then(async () => {
      try {
        self.postMessage({ id: data.id, ...(await work[data.do](data)) });
      } catch (error) {
        self.postMessage({ id: data.id, error: String(error?.message ?? error) });
      }
    });
  };
  self.postMessage({ ready: true });
}
