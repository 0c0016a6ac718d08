use super::*;

#[test]
fn labels_differ() {
    let labels: std::collections::BTreeSet<_> = MemberState::ALL.iter().map(|state| state.label()).collect();
    assert_eq!(labels.len(), MemberState::ALL.len());
}
