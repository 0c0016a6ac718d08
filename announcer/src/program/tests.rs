use super::*;

// H22.
#[test]
fn a_script_whose_interpreter_is_missing_says_so_and_not_that_the_script_is() {
    let found = |head| Some(ProgramFile { executable: true, head });
    let known = |path: &str| ["/bin/sh", "/usr/bin/env"].contains(&path);
    for (errno, found, want) in [
        (Errno::ENOENT, None, "No such file or directory"),
        (
            Errno::ENOENT,
            found(b"#!/bin/sh\r\necho\r\n"),
            "its lines end with CR LF, and there is no interpreter `/bin/sh` with a CR at the end of its name; \
             `sed -i 's/\\r$//'` ends them with LF",
        ),
        (
            Errno::ENOENT,
            found(b"#! /usr/bin/python9 -u\nprint()"),
            "its first line names the interpreter `/usr/bin/python9`, which is not there",
        ),
        (Errno::ENOENT, found(b"#!/bin/sh\n"), "No such file or directory"), // it was made in the meantime
        (Errno::ENOENT, found(b"#!\n"), "No such file or directory"),
        (Errno::ENOENT, found(b""), "No such file or directory"),
        (
            Errno::EACCES,
            Some(ProgramFile { executable: false, head: b"#!/bin/sh\n" }),
            "it is not executable: `chmod +x`",
        ),
        (
            Errno::EACCES,
            found(b"#!/etc/passwd"),
            "its first line names the interpreter `/etc/passwd`, which may not be executed",
        ),
        (Errno::EACCES, None, "Permission denied"),
        (
            Errno::ENOEXEC,
            found(b"echo hello"),
            "it is not a program for this machine, and its first line names no interpreter (`#!/bin/sh`)",
        ),
        (Errno::ETXTBSY, found(b"#!/bin/sh\n"), "Text file busy"),
    ] {
        assert_eq!(why_not_run(errno, found, known).to_string(), want, "{errno} {found:?}");
    }
}

#[test]
fn a_program_of_another_system_names_its_loader() {
    let mut head = vec![0; 64 + 2 * 56];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    head[32] = 64; // the table begins behind the header,
    head[54] = 56; // each of its entries has 56 octets,
    head[56] = 2; // and there are two
    head[64] = 6;
    head[64 + 56] = 3;
    let at = u8::try_from(head.len()).unwrap();
    head[64 + 56 + 8] = at;
    head.extend(b"/lib/ld-musl-x86_64.so.1\0rest");
    let why =
        |head: &[u8]| why_not_run(Errno::ENOENT, Some(ProgramFile { executable: true, head }), |_| false);
    assert_eq!(why(&head), StartError::NoLoader("/lib/ld-musl-x86_64.so.1".into()));
    for cut in 0..head.len() {
        let _ = why(&head[..cut]); // none of them is a panic
    }
    head[32..40].fill(0xff);
    assert_eq!(why(&head), StartError::Kernel(Errno::ENOENT));
}

#[test]
fn a_user_is_found_by_its_whole_name() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nwww-data:x:33:34::/:\nwww:x:many:1::/:\n";
    for (name, want) in [
        ("root", Some((0, 0))),
        ("www-data", Some((33, 34))),
        ("www", None),
        ("broken", None),
        ("", None),
        ("x", None),
    ] {
        assert_eq!(in_passwd(passwd, name), want, "{name}");
    }
}
