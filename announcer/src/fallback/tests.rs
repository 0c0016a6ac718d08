use super::*;
use crate::config;
use crate::config::tests::with_services;

const ID: &str = "0123456789abcdef0123456789abcdef";

fn machine() -> MachineId {
    MachineId::parse(ID).unwrap()
}

#[test]
fn a_machine_id_is_32_hexadecimal_digits() {
    for (text, good) in [
        (format!("{ID}\n"), true),
        (ID.to_ascii_uppercase(), true),
        (String::new(), false),
        ("\n".to_owned(), false),
        ("uninitialized\n".to_owned(), false),
        (ID.replace('0', "g"), false),
        (format!("{ID}0"), false),
    ] {
        assert_eq!(MachineId::parse(&text).is_some(), good, "{text}");
    }
}

#[test]
fn a_copy_is_used_only_if_it_is_complete_and_of_this_machine() {
    let text = "[bgp]\nasn = 65001 # ü\n";
    let copy = write(text, &machine());
    assert!(copy.ends_with(&format!("\n{text}")) && copy.starts_with('#'));
    assert_eq!(check(&copy, &machine()), Ok(()));
    assert_eq!(check(&write("\u{feff}[bgp]\n", &machine()), &machine()), Ok(()));
    assert_eq!(check(&write("", &machine()), &machine()), Ok(()));
    let other = MachineId::parse(&ID.replace('0', "1")).unwrap();
    for (copy, machine, want) in [
        (copy.clone(), &other, CopyError::Machine),
        (copy.trim_end().to_owned(), &machine(), CopyError::Length { wanted: 23, found: 22 }),
        (format!("{copy}\0"), &machine(), CopyError::Length { wanted: 23, found: 24 }),
        (text.to_owned(), &machine(), CopyError::Head),
        (String::new(), &machine(), CopyError::Head),
        (copy.lines().next().unwrap().to_owned(), &machine(), CopyError::Head),
        (copy.replacen("Length 23", "Length x", 1), &machine(), CopyError::Head),
    ] {
        assert_eq!(check(&copy, machine), Err(want), "{copy}");
    }
}

#[test]
fn addresses_are_found_in_a_file_with_any_mistake() {
    for (text, want) in [
        ("vips = [\"192.0.2.80\", \"2001:db8::80\"]", &["192.0.2.80", "2001:db8::80"][..]),
        // Mistakes of syntax.
        ("vips = [\"192.0.2.80\", \"192.0.2.81\"", &["192.0.2.80", "192.0.2.81"]),
        ("vips = [\"192.0.2.80, \"192.0.2.81\"]", &["192.0.2.80", "192.0.2.81"]),
        ("vips [192.0.2.80; 192.0.2.81}", &["192.0.2.80", "192.0.2.81"]),
        ("vips=['192.0.2.80',\t'192.0.2.81']\r\nx", &["192.0.2.80", "192.0.2.81"]),
        ("vips = [\"192.0.2.80\"\n]]\n[[[service\n\"192.0.2.81\"", &["192.0.2.80", "192.0.2.81"]),
        // Mistakes of keys, and of values with an address.
        ("vip = \"192.0.2.80\"", &["192.0.2.80"]),
        (
            "vips = [\"192.0.2.80/32\", \"192.0.2.81:80\", \"[2001:db8::80]:80\", \"[2001:db8::81]\"]",
            &["192.0.2.80", "192.0.2.81", "2001:db8::80", "2001:db8::81"],
        ),
        ("vips = [\"2001:DB8:0::80\", \"2001:DB8::00AB\"]", &["2001:db8::80", "2001:db8::ab"]),
        // Not addresses, or not this one.
        (
            "vips = [\"192.0.2.8O\", \"192.0.2.801\", \"192.0.2\", \"1192.0.2.80.\", \"a192.0.2.80\", \"192.0.2.80a\"]",
            &[],
        ),
        ("name = \"web-192.0.2.80\", \"192.0.2.81-\"", &["192.0.2.80", "192.0.2.81"]),
        ("http = \"http://192.0.2.80.example.com/\"", &[]),
        ("", &[]),
        // Comments.
        ("# vips = [\"192.0.2.80\"]", &[]),
        ("vips = [\"192.0.2.80\", # \"192.0.2.81\"", &["192.0.2.80"]),
        ("vips = [\n  \"192.0.2.80\",\n  # \"192.0.2.81\",\n]", &["192.0.2.80"]),
        ("x = \"a # b\", \"192.0.2.80\" # 192.0.2.81", &["192.0.2.80"]),
        ("x = 'a \\' # 192.0.2.80", &[]),
        ("x = \"a \\\" # b\", \"192.0.2.80\"", &["192.0.2.80"]),
        // A quote is missing: what follows `#` may be a comment.
        ("vips = [\"192.0.2.80] # 192.0.2.81", &["192.0.2.80"]),
        ("it's # 192.0.2.81", &[]),
    ] {
        assert_eq!(intervals(text, &Variables::new()), want, "{text}");
    }
}

/// What a text mentions: each address, and each range of more than one.
fn intervals(text: &str, variables: &Variables) -> Vec<String> {
    let shown = |(first, last): (IpAddr, IpAddr)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    Mentioned::of([text], variables).0.into_iter().map(shown).collect()
}

#[test]
fn ranges_and_variables_are_read_as_the_configuration_reads_them() {
    let set = |name: &str, value: &str| (name.to_owned(), Variable::Environment(value.to_owned()));
    let variables = Variables::from([
        set("NET", "192.0.2"),
        set("A", "192.0.2.80"),
        set("B", "192.0.2.89"),
        set("RANGE", "192.0.2.80-192.0.2.89"),
        set("EMPTY", ""),
        set("HASH", "a # b"),
        ("BAD".to_owned(), Variable::Unusable("it is not UTF-8".to_owned())),
    ]);
    for (text, want) in [
        ("vips = [\"192.0.2.80-192.0.2.89\"]", &["192.0.2.80-192.0.2.89"][..]),
        (
            "vips = [\"2001:db8::80-2001:db8::82\", \"192.0.2.1\"]",
            &["192.0.2.1", "2001:db8::80-2001:db8::82"],
        ),
        ("vips = [\"192.0.2.80-192.0.2.85\", \"192.0.2.84-192.0.2.89\"]", &["192.0.2.80-192.0.2.89"]),
        // Without quotes, or with one too few.
        ("vips = [192.0.2.80-192.0.2.89, 192.0.2.91]", &["192.0.2.80-192.0.2.89", "192.0.2.91"]),
        ("vips = [\"192.0.2.80-192.0.2.89, \"192.0.2.91\"]", &["192.0.2.80-192.0.2.89", "192.0.2.91"]),
        // Ranges that break a rule of ranges.
        ("vips = [\"192.0.2.89-192.0.2.80\"]", &["192.0.2.80-192.0.2.89"]),
        ("vips = [\"192.0.2.80-89\"]", &["192.0.2.80-192.0.2.89"]),
        ("vips = [\"192.0.2.80 - 192.0.2.89\"]", &["192.0.2.80-192.0.2.89"]),
        ("vips = [\"192.0.2.0-192.0.3.255\"]", &["192.0.2.0-192.0.3.255"]),
        ("vips = [\"192.0.2.80-2001:db8::80\"]", &["192.0.2.80", "2001:db8::80"]),
        ("vips = [\"192.0.2.80-192.0.2.8x\"]", &["192.0.2.80"]),
        ("# \"192.0.2.80-192.0.2.89\"", &[]),
        // Variables.
        ("vips = [\"${NET}.80\", \"${NET}.82-${NET}.83\"]", &["192.0.2.80", "192.0.2.82-192.0.2.83"]),
        ("vips = [\"${A}-${B}\"]", &["192.0.2.80-192.0.2.89"]),
        ("vips = ['${RANGE}']", &["192.0.2.80-192.0.2.89"]),
        ("vips = [\"${EMPTY:-192.0.2.80-192.0.2.89}\"]", &["192.0.2.80-192.0.2.89"]),
        ("vips = [\"${A:-192.0.2.90}\"]", &["192.0.2.80"]),
        ("x = \"${HASH}\", \"${A}\"", &["192.0.2.80"]),
        ("vips = [\"$${A}\"] # ${B}", &[]),
        // One that is not set hides no other.
        ("vips = [\"${NET}.80\", \"${NONE}.81\"]", &["192.0.2.80"]),
        ("vips = [\"${A}-${NONE}\", \"${BAD}\"]", &["192.0.2.80"]),
    ] {
        assert_eq!(intervals(text, &variables), want, "{text}");
    }
}

#[test]
fn an_address_is_mentioned_from_the_first_to_the_last_of_its_range() {
    let mentioned =
        Mentioned::of(["192.0.2.80-192.0.2.82 192.0.2.90", "2001:db8::1-2001:db8::2"], &Variables::new());
    for (vip, want) in [
        ("192.0.2.79", false),
        ("192.0.2.80", true),
        ("192.0.2.81", true),
        ("192.0.2.82", true),
        ("192.0.2.83", false),
        ("192.0.2.90", true),
        ("192.0.2.91", false),
        ("::", false),
        ("2001:db8::1", true),
        ("2001:db8::3", false),
    ] {
        assert_eq!(mentioned.has(vip.parse().unwrap()), want, "{vip}");
    }
}

#[test]
fn a_vip_that_is_not_mentioned_is_left_out_and_a_service_without_a_vip_too() {
    let text = with_services!(
        "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"2001:db8::80\"]\n[[service.check]]\ntcp = 80\n\
         [[service]]\nname = \"api\"\nvips = [\"192.0.2.81\"]\n[[service.check]]\ntcp = 81\n"
    );
    for (wrong, left, services) in [
        ("\"192.0.2.80\" 2001:DB8::80 192.0.2.81", &[][..], &["www", "api"][..]),
        ("\"192.0.2.80\"\n192.0.2.81", &["2001:db8::80"], &["www", "api"]),
        ("\"192.0.2.80\" \"2001:db8::80\" # 192.0.2.81", &["192.0.2.81"], &["www"]),
        ("", &["192.0.2.80", "2001:db8::80", "192.0.2.81"], &[]),
    ] {
        let config = config::parse("test", text).unwrap_or_else(|errors| panic!("{errors}"));
        let mentioned = Mentioned::of([wrong], &Variables::new());
        let kept = reduce(config.clone(), &mentioned, false);
        let (reduced, left_out) = reduce(config.clone(), &mentioned, true);
        assert_eq!(kept, (config, left_out.clone()), "{wrong}: a file was not read, so that every VIP stays");
        let names: Vec<&str> = reduced.services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, services, "{wrong}");
        assert_eq!(left_out.iter().map(ToString::to_string).collect::<Vec<_>>(), left, "{wrong}");
        assert!(reduced.vips().all(|(vip, _)| !left_out.contains(&vip)), "{wrong}");
    }
}

#[test]
fn the_warning_says_what_runs_and_what_to_do() {
    let fallback = |wrong: &[&str], unreadable: &[&str], errors, vips: &[&str]| Fallback {
        wrong: wrong.iter().map(|file| (*file).to_owned()).collect(),
        unreadable: unreadable.iter().map(|file| (*file).to_owned()).collect(),
        errors,
        copy: "b/last-good.toml".into(),
        unmentioned: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
    };
    for (fallback, want) in [
        (
            fallback(&["a.toml"], &[], 1, &[]),
            "`a.toml` had 1 error at the start, so the last good configuration runs (`b/last-good.toml`); correct \
             `a.toml`, then run `announcer reload`",
        ),
        (
            fallback(&["a.toml"], &[], 2, &["192.0.2.80"]),
            "`a.toml` had 2 errors at the start, so the last good configuration runs (`b/last-good.toml`); its VIP \
             192.0.2.80 is left out: no file of the configuration mentioned it; correct `a.toml`, then run `announcer \
             reload`",
        ),
        (
            fallback(&["a.toml", "conf.d/z.toml"], &[], 2, &["192.0.2.80", "192.0.2.81"]),
            "`a.toml` and `conf.d/z.toml` had 2 errors at the start, so the last good configuration runs \
             (`b/last-good.toml`); its VIPs 192.0.2.80, 192.0.2.81 are left out: no file of the configuration mentioned \
             them; correct `a.toml` and `conf.d/z.toml`, then run `announcer reload`",
        ),
        (
            fallback(&["conf.d/q.toml"], &["conf.d/q.toml"], 1, &[]),
            "`conf.d/q.toml` had 1 error at the start, so the last good configuration runs (`b/last-good.toml`); \
             correct `conf.d/q.toml`, then run `announcer reload`",
        ),
        (
            fallback(&["a.toml", "conf.d/q.toml"], &["conf.d/q.toml"], 2, &["192.0.2.80"]),
            "`a.toml` and `conf.d/q.toml` had 2 errors at the start, so the last good configuration runs \
             (`b/last-good.toml`); its VIP 192.0.2.80 stays, because it can be in `conf.d/q.toml`, which could not be \
             read; correct `a.toml` and `conf.d/q.toml`, then run `announcer reload`",
        ),
        (
            fallback(&["q", "r"], &["q", "r"], 2, &["192.0.2.80", "192.0.2.81"]),
            "`q` and `r` had 2 errors at the start, so the last good configuration runs (`b/last-good.toml`); its VIPs \
             192.0.2.80, 192.0.2.81 stay, because they can be in `q` and `r`, which could not be read; correct `q` and \
             `r`, then run `announcer reload`",
        ),
    ] {
        assert_eq!(fallback.to_string(), want);
    }
    assert_eq!(fallback(&["a.toml"], &[], 2, &[]).summary(), "fallback configuration: `a.toml` had 2 errors");
}
