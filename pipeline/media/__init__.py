"""Media files: found below one root, bounded in size before they are read or decoded, each failure a named reason.

A file is found by its name, else by how other programs write it: percent-encoded, with backslashes or blanks around it,
in another form of Unicode. Everything here may be called from many threads at once. `MediaError` is the only error, and
its message is the reason.

| file | result |
|---|---|
| path leaves the root, is no regular file, is absent or too large, or an address | `MediaError` before a byte is read |
| JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF | RGB, 8 bits |
| HEIC, where the package `pillow-heif` is installed | the same |
| HEIC without the package `pillow-heif` | `MediaError`: needs the package pillow-heif |
| turned or mirrored by EXIF, or EXIF that cannot be read | upright; as it is stored |
| palette, grey, 1 bit, CMYK, Lab | RGB; a JPEG in CMYK is read as Adobe's, inverted |
| alpha, a transparent palette entry or colour | laid on white |
| 16 bits a channel | the upper 8 bits |
| TIFF of 32-bit integers | 0 or less black; white is 65,535, or the largest value if that is more |
| TIFF of floats | 0 or less and NaN black; white is 1, 255 or 65,535, the first that no value exceeds, or the largest |
| animated GIF, WebP, PNG, AVIF; TIFF of many pages | the first frame or page |
| JPEG that lacks its end marker alone | as with it |
| JPEG, PNG, WebP, GIF, BMP, AVIF cut off in the first frame | `MediaError`: truncated picture |
| TIFF cut off | `MediaError`: truncated picture, or not a readable picture |
| a picture named as another format | what its first bytes say it is |
| an empty file, HTML, SVG, PDF, a video or a sound | `MediaError`: not a readable picture, and what it is |
| any other or a damaged picture | `MediaError`: not a readable picture, or truncated picture |
| more pixels than the limit, by the header | `MediaError`: so many pixels, over the limit |
| AVIF or HEIC that is coded larger than it says | the same, by the size that is coded |
| a side of more than 65,535; PNG of more than 4 bytes for each pixel of the limit | `MediaError`: over the limit |
| JPEG of more than 64 scans or 1,000 segments | `MediaError`: metadata or structure of a bomb |
| compressed text or profile, or EXIF, of more than 1 MiB | `MediaError`: metadata or structure of a bomb |
| more chunks, blocks or tags than an honest picture has | `MediaError`: metadata or structure of a bomb |
| run-length BMP of more than 8 million bytes and pixels | `MediaError`: metadata or structure of a bomb |
| WAV, RF64, W64, AIFF, AU, CAF, FLAC, Ogg (Vorbis, Opus), MP3 | mono float32, resampled, cut at `max_seconds` |
| M4A, MP4, AAC, WebM, Matroska, WMA | the same, where the package `av` is installed |
| M4A and its like without the package `av` | `MediaError`: needs the package av |
| 1 to 64 channels, 1,000 to 768,000 Hz | the channels' mean |
| channels whose mean is 30 dB below the loudest: they cancel | the first of the loud ones |
| MP3, AAC with 64 KiB of zeros at most before the first frame, or the tag | as without them |
| other channels or rates | `MediaError`: is no clip |
| more than 400 million samples in all channels | `MediaError`: over the limit |
| M4A or MP4 whose index counts more than a million packets | `MediaError`: metadata or structure of a bomb |
| WAV (PCM, float), MP3, M4A shorter than its header says | `MediaError`: truncated clip, or not a readable clip |
| MP3 whose first frame does not count all | all that is there, cut off or not |
| MP3 with bytes that are no frame between its frames, or behind them | all of its frames |
| WAV whose sizes are 0 or unknown, as a stream's are | all that is there |
| FLAC cut off inside what is decoded | `MediaError`: truncated clip, or not a readable clip |
| Ogg, AIFF, AU, W64, RF64, WebM, Matroska cut off | what is there, or `MediaError`: not a readable clip |
| no sample, or none after resampling | `MediaError`: it holds no sample |
| NaN or infinite samples, also by overflow | `MediaError`: samples are not finite |
| an empty file, HTML, a picture | `MediaError`: not a readable clip, and what it is |
| any other or a damaged clip | `MediaError`: not a readable clip |
"""

from pipeline.media.audio import open_audio
from pipeline.media.files import MEDIA, find_media, media_root, read_media
from pipeline.media.image import open_image

__all__ = ["MEDIA", "find_media", "media_root", "open_audio", "open_image", "read_media"]
