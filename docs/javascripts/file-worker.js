// Search in pages that are opened from a disk: browsers start no worker from a file, so its script runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.onmessage = null
      this.addEventListener("message", event => this.onmessage?.(event))
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      const page = frame.contentDocument
      page.open()
      page.write("<!doctype html><body></body>")
      page.close()
      this.inside = frame.contentWindow
      this.inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const script = page.createElement("script")
      this.ready = new Promise(loaded => (script.onload = loaded))
      script.src = new URL(url, location)
      page.body.appendChild(script)
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
}
