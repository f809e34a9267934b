from brainuad.reporting.flags import Flag, flags_of


def test_a_sentence_is_there_once_with_all_its_numbers():
    texts = ["Check the mask (a 1)", "Check the mask (b 2 (mm), at most 3)", "Look at it", ""]
    assert flags_of(texts) == (
        Flag("Check the mask", "a 1; b 2 (mm), at most 3"),
        Flag("Look at it"),
    )


def test_words_in_brackets_amid_a_text_stay():
    assert flags_of(["its file (a copy) is odd"]) == (Flag("its file (a copy) is odd"),)
