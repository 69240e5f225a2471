import xml.etree.ElementTree as ET

from ganzoo_reports.templates import Absent
from ganzoo_studies.charts import COSTS, front, points_of, quality_against
from ganzoo_studies.ranking import rankings

TIME, FLOPS = COSTS


def trained(record, *facts):
    made = [record(name, value, seconds=seconds) for name, seconds, value in facts]
    return rankings(made)[0].tables[0]


def test_the_best_are_those_that_no_other_beats_at_the_same_cost_or_less(record):
    table = trained(record, ("a", 1, 9.0), ("b", 2, 9.5), ("c", 2, 4.0), ("d", 3, 4.0), ("e", 5, 1.0))
    best = front(points_of(table, TIME))
    assert [point.name for point in best] == ["a", "c", "e"]


def test_every_point_says_what_it_is(record):
    table = trained(record, ("a", 1, 9.0), ("b", 90, 4.0))
    titles = [element.text for element in ET.fromstring(str(quality_against(table, TIME, "p"))).iterfind(".//{*}title")]
    assert titles == [
        "fid@mnist-cnn over seconds of training: 2 recipes",
        "a: 9.00 after 1.0 s on Test CPU",
        "b: 4.00 after 1.5 min on Test CPU",
    ]


def test_times_of_two_machines_have_a_line_each_and_operations_have_one(record):
    def lines(cost):
        made = [
            record(name, value, seconds=seconds, flops_per_image=seconds * 1e6, environment=made_on(cpu))
            for name, seconds, value, cpu in (
                ("a", 1, 9.0, "A"),
                ("b", 2, 4.0, "A"),
                ("c", 3, 8.0, "B"),
                ("d", 4, 5.0, "B"),
            )
        ]
        drawn = ET.fromstring(str(quality_against(rankings(made)[0].tables[0], cost, "p")))
        steps = [path.get("d").count("L") for path in drawn.iterfind(".//{*}path") if path.get("clip-path")]
        return sorted(steps)[-2:]

    def made_on(cpu):
        return {"cpu": cpu, "gpu": None, "versions": {}}

    assert lines(TIME) == [2, 2]  # along and down, on each machine
    assert lines(FLOPS)[-1] == 2  # from a to b alone: what machine B trained is beaten


def test_the_best_have_their_ranks_and_every_point_a_tooltip(record):
    crowd = [(f"recipe-{number}", 10 + number / 1000, 5 + number / 1000) for number in range(30)]
    drawn = str(quality_against(trained(record, *crowd, ("far", 9000, 4.0)), TIME, "p"))
    ticks = {"10", "20", "50", "100", "1 k"}
    texts = {element.text for element in ET.fromstring(drawn).iterfind(".//{*}text")}
    assert {"1", "2"} <= texts - ticks
    assert "3" not in texts
    assert drawn.count("<title") == 32


def test_a_cost_that_nobody_knows_is_said_to_be_unknown(record):
    table = rankings([record("a", 1.0, flops_per_image=None)])[0].tables[0]
    assert isinstance(quality_against(table, FLOPS, "p"), Absent)
