"""A slice of the experiment: some hundred changes by a process that is killed."""

from experiments.kb_survival import survive


def test_killed_while_it_is_changed(tmp_path):
    result = survive(tmp_path, num_entities=2000, num_changes=120, num_kills=4)
    assert result["applied"] == 120
    assert result["kills"] == 4
    assert result["records_equal"]
    assert result["queries_equal"] == result["queries_equal_after_optimise"] == result["queries"]
    assert result["verify"]["problems"] == []
    assert result["verify_clean_after_optimise"]
