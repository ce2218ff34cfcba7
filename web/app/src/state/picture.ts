// A picture from somebody's disk made as small as a profile may carry.
const SIDE = 128;
const MOST_BYTES = 24 * 1024; // protocol::limits::MAX_AVATAR_BYTES
const MOST_FILE = 50 * 1024 * 1024; // more is no photograph, and would fill the memory
const QUALITIES = [0.9, 0.8, 0.65, 0.5, 0.3];

/** The middle of the picture as unpadded base64url; null if the browser cannot read it. */
export async function shrunk(file: File): Promise<string | null> {
  if (file.size > MOST_FILE) return null;
  const image = await createImageBitmap(file).catch(() => null);
  if (!image) return null;
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = SIDE;
  const side = Math.min(image.width, image.height);
  const context = canvas.getContext('2d');
  if (!context) return null;
  context.imageSmoothingQuality = 'high';
  context.fillStyle = '#fff'; // behind what is transparent: JPEG has no such thing
  context.fillRect(0, 0, SIDE, SIDE);
  const [x, y] = [(image.width - side) / 2, (image.height - side) / 2];
  context.drawImage(image, x, y, side, side, 0, 0, SIDE, SIDE);
  image.close();
  for (const type of ['image/webp', 'image/jpeg']) {
    for (const quality of QUALITIES) {
      const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, type, quality));
      // A browser that cannot write a format writes PNG instead.
      if (blob?.type === type && blob.size <= MOST_BYTES) return base64url(blob);
    }
  }
  return null;
}

async function base64url(blob: Blob): Promise<string> {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}
