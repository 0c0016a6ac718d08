use super::*;
use crate::config::kind::certificate::{Date, Flaw};
use crate::config::kind::handshake::{self, Warning};
use crate::health::outcome::Shortage;

impl Scene {
    /// A probe of `www` with an outcome for which `probes` has no character.
    fn saw(&mut self, vip: &str, check: usize, outcome: Outcome) {
        self.sequence += 1;
        let (service, sequence, at) = ("www".parse().unwrap(), self.sequence, self.now);
        let probed = ProbeFact { service, vip: vip.parse().unwrap(), check, sequence, outcome, at };
        let _ = self.fact(Fact::Probed(probed));
    }

    /// The figures, after a check that they agree with the report.
    fn figures(&self) -> Figures {
        let (figures, report) = (self.director.figures(self.now), self.director.report());
        let reported: Vec<(IpAddr, &str, &str)> = (report.vips())
            .map(|(_, vip)| (vip.address, vip.standing.word(), vip.standing.label()))
            .collect();
        let vips = figures.services.iter().flat_map(|service| &service.vips);
        assert_eq!(vips.map(|vip| (vip.address, vip.standing, vip.reason)).collect::<Vec<_>>(), reported);
        for (service, reported) in figures.services.iter().zip(&report.services) {
            assert_eq!(service.name, reported.name);
            assert_eq!(
                service.drained,
                !report.drains.of_service(&service.name).is_empty(),
                "{}",
                service.name
            );
        }
        assert_eq!(figures.warnings, report.warnings(self.now).len(), "{:?}", report.warnings(self.now));
        figures
    }
}

#[test]
fn figures_agree_with_the_report_and_count_beside() {
    let took = Duration::from_millis(1);
    let pass = |warning| Outcome::Pass { answer: http::Answer::Status(200).into(), warning, took };
    let ends = Date::of_unix(1_900_000_000);
    let mut scene = Scene::with_vips(&["mail", "www", "nobody"]);
    assert_eq!(scene.figures().warnings, 1, "a drain of nothing");

    // The same certificate on two VIPs is one warning; a different certificate is a second one.
    let more = |scene: &Scene| {
        let warnings = scene.director.report().warnings(scene.now);
        warnings.iter().filter(|warning| warning.contains(" more: ")).count()
    };
    for (vip, others) in [(V4, 0), (V6, 1)] {
        scene.saw(vip, 0, pass(Some(Warning::Expires(ends).into())));
        assert_eq!((scene.figures().warnings, more(&scene)), (2, others));
    }
    scene.saw(V6, 0, pass(Some(Warning::Certificate(Flaw::Untrusted).into())));
    let expired = handshake::Failure::Certificate(Flaw::Expired(ends));
    scene.saw(V6, 1, Outcome::Fail { reason: expired.into(), took });
    scene.saw(V4, 1, Outcome::Skipped(Shortage::Ports));
    let figures = scene.figures();
    assert_eq!(figures.warnings, 4);
    assert_eq!(figures.shortages.count(Shortage::Ports), 1);
    let certificates = figures.services.iter().flat_map(|service| &service.certificates);
    let certificates: Vec<_> =
        certificates.map(|one| (one.vip.to_string(), one.check.as_str(), one.ends, one.flaw)).collect();
    assert_eq!(
        certificates,
        [
            (V4.to_owned(), "http", Some(ends), None),
            (V6.to_owned(), "http", None, Some("untrusted")),
            (V6.to_owned(), "http-2", Some(ends), Some("expired")),
        ]
    );
    assert_eq!(figures.lapses, 0, "what was never up cannot lapse");
}

#[test]
fn each_lease_that_runs_out_is_counted_once_and_over_a_reload() {
    let mut scene = Scene::all_up();
    let _ = scene.wait(Duration::from_millis(4_100));
    assert_eq!(scene.figures().lapses, 4, "two checks of two VIPs");
    let _ = scene.wait(Duration::from_millis(500));
    assert_eq!(scene.figures().lapses, 4);
    let config = changed("med = 7", "med = 8");
    let _ = scene.director.reload(config, scene.sequence, scene.now);
    assert_eq!(scene.figures().lapses, 4);
}
