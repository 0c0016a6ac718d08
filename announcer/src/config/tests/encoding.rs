//! Tests what is said of a file that is not text.

use super::*;

fn errors(octets: &[u8]) -> ConfigErrors {
    parse_sources(&Sources::of_octets([("x".to_owned(), octets.to_vec())]), |_| Ok(())).unwrap_err()
}

fn faults(octets: &[u8]) -> Vec<String> {
    let errors = errors(octets);
    assert!(errors.to_string().starts_with("error: octet 0x"), "{errors}");
    errors.iter().map(|e| format!("{}:{}: {}; {}", e.line, e.column, e.message, e.help)).collect()
}

// H18.
#[test]
fn a_file_that_is_no_utf_8_is_reported_with_line_column_and_octet() {
    let sources = Sources::of_octets([("x".to_owned(), format!("{GOOD}# für\n").into())]);
    assert!(parse_sources(&sources, |_| Ok(())).is_ok());
    let wide = "save it as UTF-8; `iconv -f UTF-16 -t UTF-8` converts it";
    let little: Vec<u8> = "[bgp]\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = "[bgp]\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (mark, text, octet) in [
        (&[0xff, 0xfe][..], &little, "ff"),
        (&[0xfe, 0xff], &big, "fe"),
        (&[], &little, "5b"),
        (&[], &big, "00"),
    ] {
        let want = format!("1:1: octet 0x{octet}: this file is UTF-16; {wide}");
        assert_eq!(faults(&[mark, text].concat()), [want]);
    }
    let latin = "in Latin-1 it is `ü`: save the file as UTF-8; `iconv -f ISO-8859-1 -t UTF-8` converts it";
    assert_eq!(
        faults(b"[bgp]\nasn = 1 # f\xfcr\n\xa0x = \"\xfc\"\n\x80"),
        [
            format!("2:12: octet 0xfc is not UTF-8; {latin}"),
            "3:1: octet 0xa0 is not UTF-8; in Latin-1 it is a no-break space: write a plain space".to_owned(),
            format!("3:7: octet 0xfc is not UTF-8; {latin}"),
            "4:1: octet 0x80 is not UTF-8; save the file as UTF-8".to_owned(),
        ]
    );
    assert_eq!(faults(b"\xef\xbb\xbf\xfc"), [format!("1:1: octet 0xfc is not UTF-8; {latin}")]);
    let errors = errors(b"\xef\xbb\xbf\xfc = 1 # more").to_string();
    assert!(errors.lines().any(|line| line == "  | ^"), "one character is marked: {errors}");
}
