//! Encodes each format and reads it back, the metadata with third-party readers.

use std::io::Cursor;

use tintype_core::picture::{Encoded, Format, Picture, Pixels};

use crate::{Parameters, PictureError, decode, encode, encode_preview};

fn parameters(prompt: &str) -> Parameters {
    Parameters {
        prompt: prompt.into(),
        negative_prompt: String::new(),
        seed: 1,
        steps: 20,
        guidance: 7.5,
        width: 72,
        height: 64,
        model: "emoji".into(),
        model_hash: None,
        compression: None,
    }
}

/// A smooth gradient, which lossy formats reproduce well.
fn gradient(width: u32, height: u32) -> Pixels {
    let sample = |x: u32, y: u32| [(x * 255 / width) as u8, (y * 255 / height) as u8, 128];
    let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| sample(x, y))).collect();
    Pixels::new(width, height, rgb).expect("three samples per pixel")
}

fn file(format: Format, prompt: &str) -> Encoded {
    encode(&Picture::Pixels(gradient(72, 64)), format, &parameters(prompt)).expect("it encodes")
}

/// The EXIF user comment, read with the `kamadak-exif` crate.
fn user_comment(file: &Encoded) -> String {
    let exif = exif::Reader::new().read_from_container(&mut Cursor::new(&file.bytes)).expect("it has EXIF");
    let field = exif.get_field(exif::Tag::UserComment, exif::In::PRIMARY).expect("it has a comment");
    let exif::Value::Undefined(comment, _) = &field.value else { panic!("{:?}", field.value) };
    let text = comment.strip_prefix(b"UNICODE\0").expect("its encoding is named");
    let units: Vec<u16> = text.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).expect("it is UTF-16")
}

#[test]
fn the_text_has_the_web_uis_format() {
    let mut parameters = parameters("a tiger, <b>bold</b>");
    assert_eq!(
        parameters.to_string(),
        "a tiger, <b>bold</b>\nSteps: 20, CFG scale: 7.5, Seed: 1, Size: 72x64, Model: emoji"
    );
    parameters.negative_prompt = "blur".into();
    parameters.guidance = 7.0;
    parameters.model = "a, b".into();
    parameters.model_hash = Some("0f".repeat(32));
    assert_eq!(
        parameters.to_string(),
        "a tiger, <b>bold</b>\nNegative prompt: blur\n\
         Steps: 20, CFG scale: 7, Seed: 1, Size: 72x64, \
         Model hash: 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f, Model: \"a, b\""
    );
}

#[test]
fn every_format_keeps_size_and_colours() {
    let original = gradient(72, 64);
    for (format, tolerance) in [(Format::Jpeg, 8), (Format::Png, 0), (Format::Webp, 12)] {
        let read = decode(&file(format, "x")).expect("it decodes");
        assert_eq!((read.width(), read.height()), (72, 64));
        let worst = read.rgb().iter().zip(original.rgb()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(tolerance), "{format}: off by {worst:?}");
    }
}

#[test]
fn jpeg_and_webp_carry_the_parameters_in_exif() {
    for format in [Format::Jpeg, Format::Webp] {
        for prompt in ["plain", "老虎 🐯 é", "odd"] {
            assert_eq!(user_comment(&file(format, prompt)), parameters(prompt).to_string(), "{format}");
        }
    }
}

#[test]
fn png_carries_the_parameters_as_text() {
    let read = |prompt| {
        let file = file(Format::Png, prompt);
        let reader = png::Decoder::new(Cursor::new(file.bytes)).read_info().expect("it is a PNG");
        let info = reader.info();
        let latin1 =
            info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
        let utf8 = info
            .utf8_text
            .iter()
            .map(|chunk| (chunk.keyword.clone(), chunk.get_text().expect("it is not compressed")));
        (latin1.collect::<Vec<_>>(), utf8.collect::<Vec<_>>())
    };
    let expected = |prompt: &str| vec![("parameters".to_owned(), parameters(prompt).to_string())];
    assert_eq!(read("café"), (expected("café"), vec![]));
    assert_eq!(read("老虎 🐯"), (vec![], expected("老虎 🐯")));
}

#[test]
fn a_file_in_the_requested_format_is_unchanged() {
    let original = Encoded { format: Format::Jpeg, bytes: b"the engine's file"[..].into() };
    let returned = encode(&Picture::Encoded(original.clone()), Format::Jpeg, &parameters("x"));
    assert_eq!(returned.expect("it is returned"), original);
}

#[test]
fn a_file_of_another_format_is_converted() {
    for from in Format::ALL {
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            let converted =
                encode(&Picture::Encoded(file(from, "old")), to, &parameters("new")).expect("it converts");
            let read = decode(&converted).expect("it decodes");
            assert_eq!((converted.format, read.width(), read.height()), (to, 72, 64));
        }
    }
}

#[test]
fn grey_and_transparent_pngs_are_read() {
    for (color, samples) in [
        (png::ColorType::Grayscale, &[7u8, 9][..]),
        (png::ColorType::GrayscaleAlpha, &[7, 255, 9, 255]),
        (png::ColorType::Rgba, &[7, 7, 7, 255, 9, 9, 9, 255]),
    ] {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(samples).expect("two pixels");
        writer.finish().expect("an end");
        let read = decode(&Encoded { format: Format::Png, bytes: bytes.into() }).expect("it decodes");
        assert_eq!(read.rgb(), [7, 7, 7, 9, 9, 9]);
    }
}

#[test]
fn broken_files_are_errors() {
    for format in Format::ALL {
        let whole = file(format, "x").bytes;
        for bytes in [whole.slice(..0), whole.slice(..20), whole.slice(1..), whole.slice(..whole.len() / 3)] {
            // A decoder may accept a truncated file, but it must not panic or return an image of another
            // size.
            if let Ok(pixels) = decode(&Encoded { format, bytes: bytes.clone() }) {
                assert_eq!((pixels.width(), pixels.height()), (72, 64), "{format}, {} bytes", bytes.len());
            }
        }
        let nothing = Encoded { format, bytes: b"not a picture at all"[..].into() };
        assert!(matches!(decode(&nothing), Err(PictureError::Decode { .. })), "{format}");
    }
}

#[test]
fn a_size_above_the_formats_limit_is_an_error() {
    let wide = Picture::Pixels(gradient(16_384, 1));
    let error = encode(&wide, Format::Webp, &parameters("x")).expect_err("too wide");
    assert_eq!(error.to_string(), "webp allows at most 16383 pixels per side; the image is 16384×1");
    assert!(encode(&wide, Format::Png, &parameters("x")).is_ok());
}

#[test]
fn a_preview_is_small_and_has_no_metadata() {
    let pixels = gradient(128, 96);
    for format in Format::ALL {
        let file = encode_preview(&pixels, format).expect("it encodes");
        let read = decode(&file).expect("it decodes");
        assert_eq!((file.format, read.width(), read.height()), (format, 128, 96));
        let whole = encode(&Picture::Pixels(pixels.clone()), format, &parameters("x")).expect("it encodes");
        assert!(file.bytes.len() < whole.bytes.len(), "{} of {}", file.bytes.len(), whole.bytes.len());
        let contains = |name: &[u8]| file.bytes.windows(name.len()).any(|bytes| bytes == name);
        assert!(![&b"Exif"[..], b"EXIF", b"parameters"].into_iter().any(contains), "{format}");
        let worst = read.rgb().iter().zip(pixels.rgb()).map(|(one, other)| one.abs_diff(*other)).max();
        assert!(worst < Some(24), "{format}: off by {worst:?}");
    }
}

#[test]
fn compression_sets_the_quality() {
    let original = Picture::Pixels(gradient(128, 96));
    for format in [Format::Jpeg, Format::Webp] {
        let with = |compression| {
            encode(&original, format, &Parameters { compression, ..parameters("x") }).expect("it encodes")
        };
        let sizes = [Some(0), Some(50), None, Some(100)].map(|compression| with(compression).bytes.len());
        assert!(sizes.is_sorted() && sizes[0] < sizes[2] && sizes[2] < sizes[3], "{format}: {sizes:?}");
        let file = Picture::Encoded(with(None));
        let recompressed = encode(&file, format, &Parameters { compression: Some(10), ..parameters("x") });
        assert!(recompressed.expect("it encodes").bytes.len() < sizes[2], "{format}");
    }
}
