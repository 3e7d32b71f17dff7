//! A minimal EXIF block with a user comment. The layout is that of the library `piexif`, which AUTOMATIC1111
//! uses.
//!
//! Tags and types: CIPA DC-008 (Exif 2.32), sections 4.6.2, 4.6.3 and 4.6.5.

/// Tag of the pointer from the first directory to the Exif directory.
const EXIF_IFD: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;
const TYPE_LONG: u16 = 4;
const TYPE_UNDEFINED: u16 = 7;
/// Prefix of a comment in UTF-16. The text has the block's byte order.
const UNICODE: &[u8; 8] = b"UNICODE\0";
/// Size of a directory: entry count, one entry, offset of the next directory.
const DIRECTORY_BYTES: u32 = 2 + 12 + 4;
const HEADER_BYTES: u32 = 8;

/// A big-endian TIFF block with `text` as its user comment. In JPEG `Exif\0\0` precedes it; in WebP nothing
/// does.
pub(crate) fn with_user_comment(text: &str) -> Vec<u8> {
    let mut comment = UNICODE.to_vec();
    comment.extend(text.encode_utf16().flat_map(u16::to_be_bytes));

    let exif_ifd = HEADER_BYTES + DIRECTORY_BYTES;
    let comment_offset = exif_ifd + DIRECTORY_BYTES;
    let mut block = b"MM\0\x2a".to_vec();
    block.extend(HEADER_BYTES.to_be_bytes());
    push_directory(&mut block, EXIF_IFD, TYPE_LONG, 1, exif_ifd);
    push_directory(&mut block, USER_COMMENT, TYPE_UNDEFINED, comment.len() as u32, comment_offset);
    block.extend(comment);
    block
}

/// Appends a directory of one entry, the last directory of its chain.
fn push_directory(block: &mut Vec<u8>, tag: u16, kind: u16, count: u32, value: u32) {
    block.extend(1u16.to_be_bytes());
    block.extend(tag.to_be_bytes());
    block.extend(kind.to_be_bytes());
    block.extend(count.to_be_bytes());
    block.extend(value.to_be_bytes());
    block.extend(0u32.to_be_bytes());
}
