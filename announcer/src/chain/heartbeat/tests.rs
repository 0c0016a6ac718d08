use super::*;

#[test]
fn labels_differ() {
    let labels: std::collections::BTreeSet<_> = DropReason::ALL.iter().map(|why| why.label()).collect();
    assert_eq!(labels.len(), DropReason::ALL.len());
}
