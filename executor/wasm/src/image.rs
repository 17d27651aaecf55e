//! A snapshot taken apart: code for wasmtime to compile, and the memory that every guest starts with.
//!
//! wasmtime could do both by itself. Apart, the image is one file that the compiled modules of both modes and
//! all workers share, and `memory.rs` decides what is kept of a guest's memory for the next one.
//!
//! The file: a header of [`HEADER_BYTES`] (a magic line, then where in a guest's memory the rest begins), then bytes as
//! they stand in memory.

use std::fs::File;
use std::io::{self, Read as _};

use wasmparser::{DataKind, Operator, Parser, Payload};

/// What an image begins with.
const MAGIC: &[u8; 24] = b"codejury memory image 1\n";
/// The largest page size of a host: what follows can be mapped everywhere.
pub(crate) const HEADER_BYTES: usize = 64 * 1024;

const DATA: u8 = 11;
const DATA_COUNT: u8 = 12;

/// What a guest's memory holds when it starts, zeros around it aside.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Image {
    /// Where it begins, a multiple of [`HEADER_BYTES`].
    pub(crate) start: usize,
    /// A multiple of [`HEADER_BYTES`] of them.
    pub(crate) bytes: Vec<u8>,
}

impl Image {
    /// The file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend((self.start as u64).to_le_bytes());
        file.resize(HEADER_BYTES, 0);
        file.extend(&self.bytes);
        file
    }

    /// Where the image in a file begins, and how long it is.
    ///
    /// # Errors
    ///
    /// It is no image, or cannot be read.
    pub(crate) fn header(mut file: &File) -> io::Result<(usize, usize)> {
        let mut head = [0; MAGIC.len() + 8];
        file.read_exact(&mut head)?;
        let (magic, start) = head.split_at(MAGIC.len());
        let start = u64::from_le_bytes(start.try_into().expect("eight bytes"));
        let bytes = file.metadata()?.len().checked_sub(HEADER_BYTES as u64);
        match (usize::try_from(start), bytes.map(usize::try_from)) {
            (Ok(start), Some(Ok(bytes)))
                if magic == MAGIC && (start | bytes).is_multiple_of(HEADER_BYTES) =>
            {
                Ok((start, bytes))
            }
            _ => Err(io::Error::other("it is no memory image")),
        }
    }
}

/// Takes a module apart: the same without its data, and its data.
///
/// # Errors
///
/// It is no WebAssembly, or has data that is not put into memory before it starts.
pub(crate) fn split(module: &[u8]) -> Result<(Vec<u8>, Image), String> {
    let text = |error: wasmparser::BinaryReaderError| error.to_string();
    let mut code = module.get(..8).ok_or("it is too short")?.to_vec();
    let mut segments = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(text)?;
        if let Payload::DataSection(section) = &payload {
            for segment in section.clone() {
                let segment = segment.map_err(text)?;
                // Code that wants one that is put there later does not compile without it.
                if let Some(address) = address(&segment.kind)? {
                    segments.push((address, segment.data));
                }
            }
        }
        match payload.as_section() {
            Some((DATA | DATA_COUNT, _)) | None => {}
            Some((id, contents)) => {
                code.push(id);
                leb128(&mut code, contents.len());
                code.extend(&module[contents]);
            }
        }
    }
    Ok((code, laid_out(&segments)?))
}

/// Where a segment begins, if it is there from the start.
fn address(kind: &DataKind<'_>) -> Result<Option<usize>, String> {
    let DataKind::Active {
        memory_index,
        offset_expr,
    } = kind
    else {
        return Ok(None);
    };
    let mut operators = offset_expr.get_operators_reader();
    match (memory_index, operators.read(), operators.read()) {
        (0, Ok(Operator::I32Const { value }), Ok(Operator::End)) => {
            Ok(Some(value.cast_unsigned() as usize))
        }
        _ => Err("it has data that is not at a fixed place of its memory".to_owned()),
    }
}

fn laid_out(segments: &[(usize, &[u8])]) -> Result<Image, String> {
    let filled = || segments.iter().filter(|(_, data)| !data.is_empty());
    let end = |(at, data): &(usize, &[u8])| at + data.len();
    let Some(first) = filled().map(|(at, _)| *at).min() else {
        return Ok(Image::default());
    };
    let start = first - first % HEADER_BYTES;
    let end = filled().map(end).max().unwrap_or(start);
    if end > 1 << 32 {
        return Err("it has data outside of its memory".to_owned());
    }
    let mut bytes = vec![0; (end - start).next_multiple_of(HEADER_BYTES)];
    // In this order: a later segment lies over an earlier one.
    for (at, data) in filled() {
        bytes[at - start..][..data.len()].copy_from_slice(data);
    }
    Ok(Image { start, bytes })
}

fn leb128(to: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_apart(text: &str) -> Result<(Vec<u8>, Image), String> {
        split(&wat::parse_str(text).expect("the test's module is well-formed"))
    }

    #[test]
    fn data_goes_and_everything_else_stays() {
        let with = |data: &str| {
            format!(
                r#"(module (memory (export "memory") 8) (func (export "f") (result i32) i32.const 5) {data})"#
            )
        };
        let (code, image) = taken_apart(&with(
            r#"(data (i32.const 65540) "abc") (data (i32.const 131071) "xyz") (data (i32.const 131072) "!")"#,
        ))
        .expect("a snapshot");
        let (bare, none) = taken_apart(&with("")).expect("a module");
        assert_eq!(code, bare);
        assert_eq!(none, Image::default());
        assert_eq!((image.start, image.bytes.len()), (65536, 131_072));
        assert_eq!(image.bytes[4..7], *b"abc");
        assert_eq!(image.bytes[65535..65538], *b"x!z");
        let set = image.bytes.iter().filter(|byte| **byte != 0).count();
        assert_eq!(set, 6);
    }

    #[test]
    fn what_is_no_snapshot_is_refused() {
        let reason = taken_apart(
            r#"(module (import "a" "b" (global i32)) (memory 1) (data (global.get 0) "x"))"#,
        );
        assert_eq!(
            reason.expect_err("where?"),
            "it has data that is not at a fixed place of its memory"
        );
        let (code, _) = taken_apart(
            r#"(module (memory 1) (data "later") (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1))))"#,
        )
        .expect("it can be taken apart");
        let engine = crate::engine::engine(crate::Mode::Plain).expect("an engine");
        wasmtime::Module::new(&engine, code).expect_err("but does not compile");
        for bytes in [
            &b""[..],
            b"\0asm",
            b"\0asm\x01\0\0\0\x0b\x05",
            b"MZ and more",
        ] {
            split(bytes).expect_err("no module");
        }
    }

    #[test]
    fn a_file_says_where_its_image_begins() {
        let image = Image {
            start: 3 * HEADER_BYTES,
            bytes: vec![7; 2 * HEADER_BYTES],
        };
        let folder = tempfile::tempdir().expect("a folder");
        let read = |bytes: &[u8]| {
            let path = folder.path().join("image");
            std::fs::write(&path, bytes).expect("written");
            Image::header(&File::open(path).expect("there"))
        };
        let file = image.file();
        assert_eq!(
            read(&file).expect("an image"),
            (image.start, image.bytes.len())
        );
        for bad in [&file[..file.len() - 1], &file[..20], &file[1..], b""] {
            read(bad).expect_err("no image");
        }
    }
}
