//! Tests `[defaults]`.

use super::*;

/// `GOOD`, with these lines below it.
fn with(lines: &str) -> String {
    format!("{GOOD}\n{lines}\n")
}

fn good(text: &str) -> Config {
    parse("announcer.toml", text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_default_is_the_value_of_each_table_that_does_not_write_its_own() {
    let config = good(&with(concat!(
        "[[service.check]]\ntcp = 80\nrise = 7\n",
        "[[service]]\nname = \"mail\"\nvips = [\"192.0.2.25\"]\nmed = 5\n[service.deprefer]\nmed = 9\n",
        "[[service.check]]\ntcp = 25\n",
        "[[peer]]\nname = \"r2\"\naddress = \"10.0.1.2\"\n",
        "[defaults.service]\nmed = 70\nannounce_delay = \"3s\"\n[defaults.service.deprefer]\nprepend = 5\nmed = 8\n",
        "[defaults.check]\nrise = 4\nfast_interval = \"250ms\"\n",
        "[defaults.peer]\nasn = 65002\nhold_time = \"30s\"\n",
    )));
    let [www, mail] = config.services.as_slice() else { panic!("two services") };
    assert_eq!((www.attributes.med, mail.attributes.med), (Some(100), Some(5)));
    assert_eq!((www.announce_delay, mail.announce_delay), (Duration::from_secs(3), Duration::from_secs(3)));
    assert_eq!((www.deprefer.prepend, www.deprefer.med), (5, Some(8)));
    assert_eq!((mail.deprefer.prepend, mail.deprefer.med), (5, Some(9)));
    let rises: Vec<u32> = config.services.iter().flat_map(|s| &s.checks).map(|check| check.rise).collect();
    assert_eq!(rises, [2, 7, 4]);
    assert_eq!(www.checks[0].fast_interval, Duration::from_millis(250));
    let [r1, r2] = config.peers.as_slice() else { panic!("two peers") };
    assert_eq!((r1.hold_time.as_secs(), r2.hold_time.as_secs()), (9, 30));
    assert_eq!(r2.asn, PeerAsn::Is(Asn::try_from(65002).unwrap()));
    assert_eq!(good(&canonical(&config)), config);
}

/// A key of one kind of check is a default only for the checks that can have it.
#[test]
fn a_default_is_only_for_the_checks_to_which_it_fits() {
    let defaults = "[defaults.check]\nexpect_status = 204\nverify = \"require\"\nca_file = \"/ca\"\ntarget = \"127.0.0.1\"\nexpect_body = \"ok\"\n";
    let check = |lines: &str| {
        let (above, _) = GOOD.split_once("[[service.check]]").unwrap();
        let config = good(&format!("{above}[[service.check]]\n{lines}\n{defaults}"));
        assert_eq!(good(&canonical(&config)), config, "{lines}");
        config.services[0].checks[0].clone()
    };
    let http = |lines: &str| {
        let ProbeConfig::Http(http) = check(lines).probe else { panic!("{lines}") };
        http
    };
    let local = Some(ProbeTarget::Address(TargetAddress { ip: Ipv4Addr::LOCALHOST.into(), port: None }));
    assert_eq!(http("http = \"http://a/\"").expect_status, [Statuses { first: 204, last: 204 }]);
    assert_eq!(http("http = \"http://a/\"").certificate.verify, Verify::Warn, "no TLS, no certificate");
    assert_eq!(http("http = \"https://a/\"").certificate.verify, Verify::Require);
    assert_eq!(http("http = \"https://a/\"\nverify = \"off\"").certificate.ca_file, None);
    assert!(http("http = \"https://a/\"").expect_body.is_some());
    assert_eq!(http("http = \"https://a/\"\nmethod = \"HEAD\"").expect_body, None);
    assert_eq!(check("tcp = 25").target, local);
    assert_eq!(check("file = \"/run/up\"").target, None, "a file is at no address");
}

#[test]
fn what_is_wrong_with_a_default_is_reported_once_and_at_its_place() {
    let two = "[[service]]\nname = \"mail\"\nvips = [\"192.0.2.25\"]\n[[service.check]]\ntcp = 25\n";
    let mut out = String::new();
    for lines in [
        "[defaults.service]\nname = \"x\"\nvips = []\nprefix = \"192.0.2.0/24\"",
        "[defaults.service]\non_failure = \"explode\"\nmed = -1",
        "[defaults.service]\nmedd = 1",
        "[[defaults.service.check]]\ninterval = \"1s\"",
        "[defaults.service.deprefer]\nprepend = 11",
        "[defaults.service.deprefer]\nfoo = 1",
        "[defaults.service]\ndeprefer = 3",
        "[defaults.service.check]\nrise = 3",
        "[defaults.check]\nname = \"x\"\ntcp = 80\nhttp = \"http://a/\"",
        "[defaults.check]\nexpect_status = 1000\nalpn = [\"\"]",
        "[defaults.check]\nfast_interval = \"2s\"",
        "[defaults.peer]\nname = \"x\"\naddress = \"10.0.1.1\"",
        "[defaults.peer]\nhold_time = \"2s\"",
        "[defaults]\nservice = 1\nbgp = 2",
        "[[defaults.service]]\nmed = 1",
        "[[defaults]]\nmed = 1",
    ] {
        out += &format!("{lines}\n{}", printed(&format!("{GOOD}{two}{lines}\n")));
    }
    expect_file!["defaults.txt"].assert_eq(&out);
}

/// Each key is either refused as a default or used as one.
#[test]
fn every_key_is_a_default_or_says_why_not() {
    for section in
        [&crate::config::service::SECTION, &crate::config::check::SECTION, &crate::config::peer::SECTION]
    {
        let name = section.header.trim_matches(['[', ']']).rsplit('.').next().unwrap();
        for key in section.keys() {
            let Some(example) = key.example() else { continue };
            let text = format!("{GOOD}[defaults.{name}]\n{} = {example}\n", key.name);
            let refused = printed(&text).contains(" cannot be a default");
            assert_eq!(refused, key.own.is_some(), "{name} {}: {}", key.name, printed(&text));
        }
    }
}
