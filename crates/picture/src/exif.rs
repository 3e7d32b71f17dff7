//! The smallest EXIF block that carries a user comment, laid out as the library `piexif` (which AUTOMATIC1111 uses) does.
//!
//! Tags and types: CIPA DC-008 (Exif 2.32), sections 4.6.2, 4.6.3 and 4.6.5.

/// Pointer from the first directory to the Exif directory.
const EXIF_IFD: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;
const TYPE_LONG: u16 = 4;
const TYPE_UNDEFINED: u16 = 7;
/// What a comment in UTF-16 begins with; its bytes follow the block's own order.
const UNICODE: &[u8; 8] = b"UNICODE\0";
/// An entry count, one entry and the offset of the next directory.
const DIRECTORY_BYTES: u32 = 2 + 12 + 4;
const HEADER_BYTES: u32 = 8;

/// A big-endian TIFF block with `text` as its user comment. JPEG wants `Exif\0\0` before it, WebP nothing.
pub(crate) fn with_user_comment(text: &str) -> Vec<u8> {
    let mut comment = UNICODE.to_vec();
    comment.extend(text.encode_utf16().flat_map(u16::to_be_bytes));

    let exif_ifd = HEADER_BYTES + DIRECTORY_BYTES;
    let comment_at = exif_ifd + DIRECTORY_BYTES;
    let mut block = b"MM\0\x2a".to_vec();
    block.extend(HEADER_BYTES.to_be_bytes());
    directory(&mut block, EXIF_IFD, TYPE_LONG, 1, exif_ifd);
    directory(&mut block, USER_COMMENT, TYPE_UNDEFINED, comment.len() as u32, comment_at);
    block.extend(comment);
    block
}

/// A directory of one entry, with none after it.
fn directory(block: &mut Vec<u8>, tag: u16, kind: u16, count: u32, value: u32) {
    block.extend(1u16.to_be_bytes());
    block.extend(tag.to_be_bytes());
    block.extend(kind.to_be_bytes());
    block.extend(count.to_be_bytes());
    block.extend(value.to_be_bytes());
    block.extend(0u32.to_be_bytes());
}
