use expect_test::expect;

use super::*;

fn config(checks: &str) -> Config {
    let text = format!(
        "[bgp]\nasn = 65001\n[[peer]]\nname = \"r1\"\naddress = \"10.0.0.1\"\nasn = 65000\n[[service]]\nname = \"www\"\n\
         vips = [\"2001:db8::80\", \"192.0.2.80\"]\n{checks}"
    );
    announcer::config::parse("test", &text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn each_port_and_path_is_answered_with_the_status_that_passes() {
    let checks = "[[service.check]]\nhttp = \"http://www.example.com/healthz?full\"\n\
         [[service.check]]\nname = \"two\"\nhttp = \"http://example.com/healthz\"\nexpect_status = [\"200-204\", 401]\n\
         [[service.check]]\nname = \"old\"\nhttp = \"http://www.example.com/old%20page\"\nexpect_status = 301\n\
         [[service.check]]\nname = \"in\"\nhttp = \"http://www.example.com/\"\nexpect_status = [401, 403]\n\
         [[service.check]]\ntcp = 8080\n\
         [[service.check]]\nname = \"back\"\nhttp = \"http://www.example.com/\"\ntarget = \"127.0.0.1:9000\"\n";
    expect![[r#"
        # Written for the checks of fe1.
        user www-data;
        worker_processes 1;
        pid /run/nginx.pid;
        error_log /var/log/nginx/error.log;

        events {
        	worker_connections 8192;
        }

        http {
        	access_log off;
        	default_type text/plain;

        	server {
        		listen 80 default_server backlog=4096;
        		listen [::]:80 default_server backlog=4096;
        		add_header X-Frontend fe1 always;

        		location / {
        			return 401;
        		}
        		location = "/healthz" {
        			return 200 "ok\n";
        		}
        		location = "/old page" {
        			return 301 /elsewhere;
        		}
        	}

        	server {
        		listen 8080 default_server backlog=4096;
        		listen [::]:8080 default_server backlog=4096;
        		add_header X-Frontend fe1 always;

        		location / {
        			return 200 "ok\n";
        		}
        	}

        	server {
        		listen 9000 default_server backlog=4096;
        		listen [::]:9000 default_server backlog=4096;
        		add_header X-Frontend fe1 always;

        		location / {
        			return 200 "ok\n";
        		}
        	}
        }
    "#]]
    .assert_eq(&nginx("fe1", "my.toml", &config(checks)).unwrap());
}

#[test]
fn a_check_that_this_server_cannot_answer_is_refused() {
    let url = "http = \"http://www.example.com/\"";
    for (check, why) in [
        ("http = \"https://www.example.com/\"".to_owned(), Some("has no certificate")),
        ("tls = \"www.example.com\"".to_owned(), Some("has no certificate")),
        ("tcp = 25\nexpect = \"^220 \"".to_owned(), Some("speaks HTTP alone")),
        (format!("{url}\nhttp_version = \"2\""), Some("has no HTTP/2")),
        (format!("{url}\nexpect_body = \"^fine\""), Some("answers `ok`")),
        (format!("{url}\nexpect_body = \"^ok\""), None),
        (
            format!("{url}\nexpect_digest = \"2ef7bde608ce5404e97d5f042f95f89f1c232871\""),
            Some("expect_digest"),
        ),
        (
            format!("{url}\n[[service.check]]\nname = \"other\"\n{url}\nexpect_status = 401"),
            Some("different statuses"),
        ),
        ("file = \"/run/www.up\"".to_owned(), None),
    ] {
        let answer = nginx("fe1", "my.toml", &config(&format!("[[service.check]]\n{check}\n")));
        match (&answer, why) {
            (Ok(_), None) => {}
            (Err(said), Some(why)) => {
                assert_eq!(said.len(), 1, "{said:?}");
                assert!(said[0].starts_with("my.toml: service `www`, check `"), "{}", said[0]);
                assert!(said[0].contains(why) && said[0].ends_with("with --web"), "{}", said[0]);
            }
            (Ok(_), Some(_)) | (Err(_), None) => panic!("{check}: {answer:?}"),
        }
    }
}

#[test]
fn the_load_asks_as_the_first_check_that_a_200_passes() {
    let target = |url: &str, host: Option<&str>| {
        Some(LoadTarget { url: url.to_owned(), host: host.map(str::to_owned) })
    };
    let http = "[[service.check]]\nhttp = \"http://www.example.com:8080/up?x\"\n";
    let closed = "[[service.check]]\nhttp = \"http://www.example.com/\"\nexpect_status = 401\n";
    let tcp = "[[service.check]]\ntcp = 81\n";
    let tls = "[[service.check]]\ntls = \"www.example.com\"\n";
    for (checks, own_web, wanted) in [
        (
            format!("{closed}{tcp}{http}"),
            false,
            target("http://[2001:db8::80]:8080/up?x", Some("www.example.com")),
        ),
        (tcp.to_owned(), false, target("http://[2001:db8::80]:81/", None)),
        (tcp.to_owned(), true, None),
        (tls.to_owned(), true, None),
    ] {
        assert_eq!(load(&config(&checks), own_web), wanted, "{checks}");
    }
}

#[test]
fn the_certificates_of_an_nginx_conf_are_found() {
    let text = "server { listen 443 ssl;\n  ssl_certificate /etc/ssl/www.pem; ssl_certificate_key \"/etc/ssl/www.key\";\n\
                # ssl_certificate /etc/no.pem;\n  ssl_certificate relative.pem;\n  root /srv/www;\n}";
    assert_eq!(named_files(text).into_iter().collect::<Vec<_>>(), ["/etc/ssl/www.key", "/etc/ssl/www.pem"]);
}
