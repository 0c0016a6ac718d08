//! Values of `[[service.check]]`.

use super::BadCase;

pub(super) const CASES: &[BadCase] = &[
    (
        "probes too often, too rarely",
        &[("interval = \"1s\"", "interval = \"49ms\""), ("timeout = \"1s\"", "timeout = \"61s\"")],
    ),
    ("a timeout of nothing", &[("timeout = \"1s\"", "timeout = \"0s\"")]),
    ("rise and fall of none, of too many", &[("rise = 2", "rise = 0"), ("fall = 3", "fall = 101")]),
    ("another protocol", &[("http://www", "ftp://www")]),
    ("a URL without its protocol", &[("http://www", "www")]),
    ("a host and port alone", &[("http://www.example.com/healthz", "localhost:80")]),
    ("a URL without a host", &[("http://www.example.com/healthz", "http://")]),
    ("a URL with a user", &[("http://www", "http://me:secret@www")]),
    ("a URL with a fragment", &[("/healthz", "/#top")]),
    ("a URL with a blank", &[("/healthz", "/a b")]),
    ("a URL with port 0", &[(".com/", ".com:0/")]),
    ("no check's kind", &[("http = \"http://www.example.com/healthz\"\n", "")]),
    ("a check's kind misspelt", &[("http = ", "htttp = ")]),
    ("a check of two kinds", &[("rise = 2", "tls = \"www.example.com\"")]),
    (
        "keys of another kind",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "tls = \"www.example.com\"\nmethod = \"GET\"\nexpect_status = 200",
        )],
    ),
    (
        "values of DNS",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "dns = \"www..example.com\"\nrecord_type = \"a\"\ntransport = \"https\"\ndns_port = 0\nexpect_rcode = \"NOPE\"",
        )],
    ),
    (
        "keys of DNS that contradict each other",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "dns = \"www.example.com\"\nexpect_rcode = \"NXDOMAIN\"\nexpect_answer = [\"192.0.2.80\"]\nverify = \"off\"\ntls_name = \"dns\"",
        )],
    ),
    (
        "answers that no record can have",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "dns = \"www.example.com\"\nrecord_type = \"AAAA\"\nexpect_answer = [\"192.0.2.80\", \"2001:db8::80\"]",
        )],
    ),
    (
        "values of ICMP",
        &[("http = \"http://www.example.com/healthz\"", "icmp = 8973\ntarget = \"[2001:db8::1]:7\"")],
    ),
    (
        "a port for ICMP",
        &[("http = \"http://www.example.com/healthz\"", "icmp = 56\ntarget = \"[2001:db8::1]:7\"")],
    ),
    (
        "values of UDP",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "udp = 53\nsend_hex = \"0\"\nexpect_hex = \"xy\"\nexpect = \"(\"",
        )],
    ),
    (
        "two datagrams of UDP",
        &[("http = \"http://www.example.com/healthz\"", "udp = 53\nsend_hex = \"00\"\nsend = \"a\"")],
    ),
    (
        "values of NTP",
        &[("http = \"http://www.example.com/healthz\"", "ntp = 123\nmax_offset = \"0s\"\nmax_stratum = 16")],
    ),
    (
        "a gRPC server without a scheme",
        &[("http = \"http://www.example.com/healthz\"", "grpc = \"www.example.com:50051\"")],
    ),
    (
        "a gRPC server with a path",
        &[("http = \"http://www.example.com/healthz\"", "grpc = \"http://www.example.com/x\"")],
    ),
    (
        "a certificate of gRPC without TLS",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "grpc = \"http://www.example.com\"\nverify = \"off\"",
        )],
    ),
    ("a key of TLS alone", &[("rise = 2", "alpn = [\"h2\"]")]),
    (
        "certificates without TLS",
        &[("rise = 2", "verify = \"off\"\nca_file = \"ca\"\ncert_expires_within = \"1d\"")],
    ),
    (
        "an authority for nothing",
        &[("http://www", "https://www"), ("rise = 2", "verify = \"off\"\nca_file = \"ca\"")],
    ),
    ("two checks of one name", &[("rise = 2", "name = \"a\"\n[[service.check]]\ntls = \"a\"\nname = \"a\"")]),
    ("a slow answer that is a timeout", &[("rise = 2", "slow = \"1s\"")]),
    ("an effect of slow answers, of none", &[("rise = 2", "on_slow = \"deprefer\"")]),
    (
        "effects that are none",
        &[("rise = 2", "on_timeout = \"ignore\"\nslow = \"10ms\"\non_slow = \"withdraw\"")],
    ),
    (
        "a header field that is expected, and is none",
        &[("rise = 2", "expect_header = [\"x ready: yes\", \": yes\", \"x-ready: [\"]")],
    ),
    (
        "JSON that is none",
        &[("rise = 2", "expect_json = ['/status', 'status = 1', '/status = ok', '/a = ']")],
    ),
    ("JSON in the answer to a HEAD", &[("rise = 2", "method = \"HEAD\"\nexpect_json = '/a = 1'")]),
    ("a kept connection for a method that writes", &[("rise = 2", "method = \"POST\"\nreuse = true")]),
    ("a start period that is endless", &[("rise = 2", "start_period = \"2h\"")]),
    (
        "a client certificate without its key",
        &[("http://www", "https://www"), ("rise = 2", "client_certificate = \"/c.pem\"")],
    ),
    (
        "a client key without its certificate",
        &[("http://www", "https://www"), ("rise = 2", "client_key = \"/c.key\"")],
    ),
    (
        "a client certificate without TLS",
        &[("rise = 2", "client_certificate = \"/c.pem\"\nclient_key = \"/c.key\"")],
    ),
    ("a PROXY protocol that is none", &[("rise = 2", "send_proxy = true"), ("med = 100", "")]),
    ("a PROXY protocol of no version", &[("rise = 2", "send_proxy = \"v3\"")]),
    (
        "a PROXY protocol without a connection",
        &[
            ("rise = 2", "send_proxy = \"v2\""),
            ("http = \"http://www.example.com/healthz\"", "file = \"/run/up\""),
        ],
    ),
    ("a fast interval that is slower", &[("rise = 2", "fast_interval = \"2s\"")]),
    (
        "targets that are none",
        &[
            ("rise = 2", "target = \"localhost:80\""),
            (
                "[[service.check]]",
                "[[service.check]]\ntcp = 1\ntarget = \"unix:app.sock\"\n[[service.check]]\ntcp = 1\ntarget = \"unix:@app\"\n\
                 [[service.check]]\ntcp = 1\ntarget = \"/run/app.sock\"\n[[service.check]]\ntcp = 1\ntarget = \"unix:/run/\"\n\
                 [[service.check]]\nudp = 1\ntarget = \"unix:/run/app.sock\"\n[[service.check]]",
            ),
            (
                "[[service.check]]",
                "[[service.check]]\ntls = \"a\"\ntarget = \"0.0.0.0:80\"\n[[service.check]]",
            ),
            ("[[service.check]]", "[[service.check]]\ntls = \"a\"\ntarget = \"[::1]:0\"\n[[service.check]]"),
        ],
    ),
    ("a method in small letters", &[("rise = 2", "method = \"get\"")]),
    ("a method that asks for a tunnel", &[("rise = 2", "method = \"CONNECT\"")]),
    ("a HEAD with a body", &[("rise = 2", "method = \"HEAD\"\nexpect_body = \"ok\"")]),
    (
        "header fields that are none, or taken",
        &[("rise = 2", "headers = [\"Accept\", \"Host: a\", \"Content-Length: 1\", \"X: ü\", \"a b: c\"]")],
    ),
    ("a bad version of HTTP", &[("rise = 2", "http_version = \"3\"")]),
    ("a version without quotes", &[("rise = 2", "http_version = 1.1")]),
    (
        "statuses that are none",
        &[("rise = 2", "expect_status = [\"2xx\", \"299-200\", 99, \"100-200\", true]")],
    ),
    ("no statuses", &[("rise = 2", "expect_status = []")]),
    ("a regular expression that is not valid", &[("rise = 2", "expect_body = \"(\"")]),
    ("digests that are none", &[("rise = 2", "expect_digest = \"d41d8cd98f00b204e9800998ecf8427e\"")]),
    ("a body too long", &[("rise = 2", "max_body = 16777217")]),
    (
        "servers that are none",
        &[
            ("http = \"http://www.example.com/healthz\"", "tls = \"https://www.example.com/\""),
            (
                "[[service.check]]",
                "[[service.check]]\ntls = \"a:0\"\n[[service.check]]\ntls = \"a b\"\n[[service.check]]",
            ),
        ],
    ),
    (
        "a bad protocol, a bad value of verify",
        &[("http = \"http://www.example.com/healthz\"", "tls = \"a\"\nalpn = [\"\"]\nverify = \"yes\"")],
    ),
    (
        "programs that are none",
        &[
            ("http = \"http://www.example.com/healthz\"", "exec = [\"check-www\", \"-v\"]"),
            (
                "[[service.check]]",
                "[[service.check]]\nexec = []\n[[service.check]]\nexec = \"/bin/true\"\n[[service.check]]\nexec = \
                 [\"/bin/true\", 1, \"a\\u0000\"]\n[[service.check]]",
            ),
        ],
    ),
    (
        "a bad user, a bad value of exit_codes",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "exec = [\"/bin/true\"]\nuser = \"a:b\"\nexit_codes = \"unix\"",
        )],
    ),
    ("a file that is not absolute", &[("http = \"http://www.example.com/healthz\"", "file = \"www.up\"")]),
    (
        "a port that is not valid, and what goes with it",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "tcp = 0\nsend = 1\nexpect = \"(\"\nuser = \"nobody\"",
        )],
    ),
    (
        "a target of a program",
        &[("http = \"http://www.example.com/healthz\"", "exec = [\"/bin/true\"]\ntarget = \"::1\"")],
    ),
    // H19.
    ("a variable for a host", &[("www.example.com", "$HOSTNAME")]),
    ("no host before the path", &[("http://www.example.com/healthz", "http:///healthz")]),
    ("one slash, none, a backslash", &[("http://www.example.com/healthz", "http:/www.example.com/healthz")]),
    (
        "hosts that are none",
        &[
            ("http://www.example.com/healthz", "http://${HOST}:80/"),
            (
                "[[service.check]]",
                "[[service.check]]\ntls = \"$HOSTNAME:443\"\n[[service.check]]\nhttp = \"http://a..b/\"\n[[service.check]]\nhttp = \"http:a\"\n[[service.check]]",
            ),
        ],
    ),
    (
        "an authority for nothing, of a handshake",
        &[("http = \"http://www.example.com/healthz\"", "tls = \"a\"\nverify = \"off\"\nca_file = \"ca\"")],
    ),
    (
        "users with a blank, with a control character",
        &[
            ("http = \"http://www.example.com/healthz\"", "exec = [\"/bin/true\"]\nuser = \"a b\""),
            (
                "[[service.check]]",
                "[[service.check]]\nexec = [\"/bin/true\"]\nuser = \"a\\u007f\"\n[[service.check]]",
            ),
        ],
    ),
    (
        "servers with a blank or a control character behind them",
        &[
            ("http = \"http://www.example.com/healthz\"", "tls = \"a \""),
            ("[[service.check]]", "[[service.check]]\ntls = \"a\\u0001\"\n[[service.check]]"),
        ],
    ),
];
