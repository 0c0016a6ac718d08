use super::*;

const LONG: Duration = Duration::from_secs(20);

fn config(path: &Path) -> Arc<Config> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixture.toml")).to_owned();
    let service = format!(
        "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\nweight_file = \"{}\"\n[[service.check]]\ntcp = 80\n",
        path.display()
    );
    Arc::new(crate::config::parse("x", &(text + &service)).unwrap_or_else(|errors| panic!("{errors}")))
}

struct WeightsTask {
    configs: watch::Sender<Arc<Config>>,
    weights: watch::Receiver<Arc<FileWeights>>,
    warnings: watch::Receiver<Vec<String>>,
}

fn start(path: &Path, begins: &[(&str, u8)]) -> WeightsTask {
    let begins = begins.iter().map(|(name, weight)| (name.parse().unwrap(), Weight::new(*weight).unwrap()));
    let (configs, configs_rx) = watch::channel(config(path));
    let (weights_tx, weights) = watch::channel(Arc::new(begins.collect()));
    let (warnings_tx, warnings) = watch::channel(Vec::new());
    let channels = WeightChannels {
        configs: configs_rx,
        files: Files::new(),
        weights: weights_tx,
        warnings: warnings_tx,
    };
    tokio::spawn(run(channels));
    WeightsTask { configs, weights, warnings }
}

impl WeightsTask {
    /// Waits for a weight of `www`.
    async fn weight(&mut self, want: Option<u8>) {
        let www: ServiceName = "www".parse().unwrap();
        let has = |weights: &Arc<FileWeights>| weights.get(&www).map(|weight| weight.get()) == want;
        tokio::time::timeout(LONG, self.weights.wait_for(has)).await.unwrap().unwrap();
    }

    /// Waits for warnings.
    async fn warned(&mut self, want: &str) {
        let has = |warnings: &Vec<String>| {
            warnings.join("\n").contains(want) && want.is_empty() == warnings.is_empty()
        };
        tokio::time::timeout(LONG, self.warnings.wait_for(has)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_file_is_read_and_what_is_wrong_in_it_is_a_warning_and_the_weight_stays() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weight");
    let mut task = start(&file, &[]);
    task.warned("No such file or directory; `weight` counts in its place").await;
    std::fs::write(&file, "68\n").unwrap();
    task.configs.send_modify(|_| {}); // a reload reads it at once
    task.weight(Some(70)).await;
    task.warned("").await;
    for (text, want) in [
        ("none", "`none` is not a weight: write a number of 1 to 100; the weight stays 70"),
        (&"7".repeat(100), "the file is larger than 64 octets; the weight stays 70"),
    ] {
        std::fs::write(&file, text).unwrap();
        task.configs.send_modify(|_| {});
        task.warned(want).await;
        task.weight(Some(70)).await;
    }
    // Another file of the same service: the announced weight is damped all the same.
    let other = dir.path().join("other");
    std::fs::write(&other, "10").unwrap();
    task.configs.send_replace(config(&other));
    task.warned("").await;
    task.weight(Some(70)).await;
}

#[tokio::test]
async fn a_file_is_read_again_by_itself_and_after_a_takeover_the_weight_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weight");
    std::fs::write(&file, "60").unwrap();
    let mut task = start(&file, &[("www", 50), ("gone", 20)]);
    let kept = tokio::time::timeout(LONG, task.weights.wait_for(|weights| weights.len() == 1)).await;
    assert_eq!(kept.unwrap().unwrap().values().map(|weight| weight.get()).collect::<Vec<_>>(), [50]);
    std::fs::write(&file, "100").unwrap();
    task.weight(Some(100)).await;
}
