//! Decodes the octets of a file as text, and reports octets that are not text.
//!
//! Pure. `dsr-setup` and `announcer` both read the configuration by it.

use std::ops::Range;

/// A place of a file that is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodingFault {
    /// The place in [`EncodingError::text`], in bytes.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Why octets are not a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodingError {
    /// The text, with a replacement character for each place that is not UTF-8; empty for a UTF-16 file.
    pub text: String,
    /// Each such place, in order; a UTF-16 file has one.
    pub faults: Vec<EncodingFault>,
}

/// The text of a file.
///
/// # Errors
/// Each place that is not UTF-8, with its octet. A UTF-16 file is reported once.
pub fn decode(octets: Vec<u8>) -> Result<String, EncodingError> {
    let wide = match octets.as_slice() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        // Without a byte order mark: every other octet of a text in ASCII is zero.
        [first, 0, _, 0, ..] | [0, first, 0, _, ..] => first.is_ascii(),
        _ => false,
    };
    if wide {
        let octet = octets.first().copied().unwrap_or_default();
        let message = format!("octet 0x{octet:02x}: this file is UTF-16");
        let help = "save it as UTF-8; `iconv -f UTF-16 -t UTF-8` converts it".to_owned();
        return Err(EncodingError {
            text: String::new(),
            faults: vec![EncodingFault { span: 0..0, message, help }],
        });
    }
    let octets = match String::from_utf8(octets) {
        Ok(text) => return Ok(text),
        Err(error) => error.into_bytes(),
    };
    let (mut text, mut faults) = (String::new(), Vec::new());
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        let Some(octet) = chunk.invalid().first() else { continue };
        let message = format!("octet 0x{octet:02x} is not UTF-8");
        let help = match char::from(*octet) {
            c if c.is_alphanumeric() => {
                format!(
                    "in Latin-1 it is `{c}`: save the file as UTF-8; `iconv -f ISO-8859-1 -t UTF-8` converts it"
                )
            }
            '\u{a0}' => "in Latin-1 it is a no-break space: write a plain space".to_owned(),
            _ => "save the file as UTF-8".to_owned(),
        };
        let start = text.len();
        text.push(char::REPLACEMENT_CHARACTER);
        faults.push(EncodingFault { span: start..text.len(), message, help });
    }
    if let Some(without_mark) = text.strip_prefix('\u{feff}') {
        for fault in &mut faults {
            fault.span = fault.span.start - 3..fault.span.end - 3; // the shown text does not have the mark
        }
        text = without_mark.to_owned();
    }
    Err(EncodingError { text, faults })
}
