"""What people open in a spreadsheet runs nothing, and comes back as it was."""

from pathlib import Path

import numpy as np
import pandas as pd

from survey.readers import read_csv
from survey.spreadsheets import spreadsheet_table, spreadsheet_text


def test_text_is_never_a_formula_and_numbers_stay_numbers():
    assert spreadsheet_text("=1+1") == "'=1+1"
    assert spreadsheet_text("@SUM(A1)") == "'@SUM(A1)"
    assert spreadsheet_text("tea") == "tea"
    assert spreadsheet_text(-1.5) == -1.5
    assert spreadsheet_text(None) is None


def test_a_table_is_safe_in_cells_categories_and_names_and_reads_back(tmp_path: Path):
    table = pd.DataFrame(
        {
            "segment_id": ["=cmd()", "-A1", "'plain", "S4"],
            "crop": pd.Categorical(["+poppy", "+poppy", "x", "x"]),
            "+class": [-1.5, np.nan, 2.0, 0.0],
        }
    )
    path = tmp_path / "table.csv"
    spreadsheet_table(table).to_csv(path, index=False)
    text = path.read_text()
    assert text.splitlines()[:2] == ["segment_id,crop,'+class", "'=cmd(),'+poppy,-1.5"]
    assert table["segment_id"].tolist()[0] == "=cmd()"  # the table itself stays
    back = read_csv(path)
    assert back["segment_id"].tolist() == ["=cmd()", "-A1", "'plain", "S4"]
    assert back["crop"].tolist() == ["+poppy", "+poppy", "x", "x"]
