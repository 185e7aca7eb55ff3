"""Which words of a text carry matter."""

from softgrpo.judges.embedded.stems import content_stems


def test_content_stems_leave_out_grammar():
    assert content_stems("The cars were being banned from all of the cities") == ["car", "ban", "citi"]
