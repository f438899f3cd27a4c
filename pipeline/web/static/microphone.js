// A recording as WAV, which the service reads whatever the browser would rather write.
const MOST_SECONDS = 15;

const wav = (chunks, rate) => {
  const count = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (place, letters) => [...letters].forEach((letter, at) => view.setUint8(place + at, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * count, true);
  let place = 44;
  chunks.forEach((chunk) => chunk.forEach((sample) => {
    view.setInt16(place, Math.max(-1, Math.min(1, sample)) * 32767, true);
    place += 2;
  }));
  return new File([view.buffer], "recording.wav", { type: "audio/wav" });
};

// Begins to record; returns what ends it, which gives the file. told: is called with the seconds so far.
export const record = async (told, full) => {
  if (!navigator.mediaDevices) throw new Error("The browser gives a microphone only to pages of this machine or over HTTPS.");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    throw new Error(error.name === "NotFoundError" ? "There is no microphone here." : "The browser was not allowed to use the microphone.");
  }
  const context = new AudioContext();
  await context.audioWorklet.addModule("/static/recorder.js");
  const chunks = [], node = new AudioWorkletNode(context, "recorder");
  let samples = 0;
  node.port.onmessage = (event) => {
    chunks.push(event.data);
    samples += event.data.length;
    told(samples / context.sampleRate);
    if (samples >= MOST_SECONDS * context.sampleRate) full();
  };
  const source = context.createMediaStreamSource(stream);
  source.connect(node);
  return async () => {
    source.disconnect();
    stream.getTracks().forEach((track) => track.stop());
    const rate = context.sampleRate;
    await context.close();
    return wav(chunks, rate);
  };
};
