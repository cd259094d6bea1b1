"""slurm.conf is read as Slurm reads it, and edited without touching anything else."""

import pathlib

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import conf_file as conf

FILES = {
    "/etc/slurm/slurm.conf": """# a comment with NodeName=x
ClusterName=Linux
slurmctldparameters=enable_configless  # NodeName=y
NodeName=DEFAULT RealMemory=10
nodename=n[1-2],m \\
   CPUs=2 Features="a,b" \\
   State=UNKNOWN
  Include  nodes.conf
INCLUDE /opt/%c.conf
PartitionName=DEFAULT State=UP Nodes=ALL
PartitionName=one Default=YES
PartitionName=two Nodes = n1,\\
n2 State=DOWN # two
TaskPlugin=task/none
TaskPlugin=task/cgroup
""",
    "/etc/slurm/nodes.conf": "NodeName=k CPUs=4\n",
    "/opt/linux.conf": 'NodeSet="s" Feature=gpu',
}


def read(path: str) -> str:
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def expand(text: str) -> list:
    return {"n[1-2],m": ["n1", "n2", "m"]}.get(text, text.split(","))


@pytest.fixture
def config() -> conf.SlurmConfig:
    return conf.SlurmConfig.load("/etc/slurm/slurm.conf", read)


def config_of(text: str) -> conf.SlurmConfig:
    return conf.SlurmConfig.load("/c", lambda _path: text)


def test_includes_are_followed_beside_slurm_conf_and_by_cluster_name(config: conf.SlurmConfig) -> None:
    assert list(config.files) == list(FILES)
    assert config.includes["/etc/slurm/nodes.conf"] == ("/etc/slurm/slurm.conf", 8, "nodes.conf")


def test_a_missing_include_names_the_line_that_wants_it() -> None:
    with pytest.raises(conf.SlurmConfigError, match=r"cannot read /gone.conf, which /c line 2 includes: No such file"):
        conf.SlurmConfig.load("/c", lambda path: "A=1\nInclude /gone.conf\n" if path == "/c" else read(path))


def test_a_file_that_includes_itself_is_read_once() -> None:
    assert list(config_of("Include /c\nA=1\n").files) == ["/c"]


def test_comments_define_nothing_and_keys_ignore_case(config: conf.SlurmConfig) -> None:
    assert config.value("SlurmctldParameters") == "enable_configless"
    assert [line.name for line in config.of_kind("NodeName")] == ["DEFAULT", "n[1-2],m", "k"]


def test_the_last_of_two_settings_wins(config: conf.SlurmConfig) -> None:
    assert config.value("taskplugin") == "task/cgroup"
    assert config.value("Absent", "other") == "other"


def test_parameters_of_a_node_are_not_settings(config: conf.SlurmConfig) -> None:
    assert config.value("CPUs") == ""


def test_continued_lines_are_one_statement(config: conf.SlurmConfig) -> None:
    line = config.of_kind("NodeName")[1]
    assert line.number == 5
    assert line.params == {"CPUs": "2", "Features": "a,b", "State": "UNKNOWN"}
    assert line.where == "/etc/slurm/slurm.conf line 5"


def test_every_name_of_a_list_is_defined_by_its_line_with_the_defaults(config: conf.SlurmConfig) -> None:
    nodes = conf.nodes_of(config, expand)
    assert sorted(nodes) == ["k", "m", "n1", "n2"]
    assert nodes["m"].params["RealMemory"] == "10"
    assert nodes["k"].statement.path == "/etc/slurm/nodes.conf"


def test_partitions_inherit_their_nodes(config: conf.SlurmConfig) -> None:
    partitions = conf.partitions_of(config)
    assert partitions["one"]["nodes"] == "ALL"
    assert partitions["two"]["nodes"] == "n1,n2"


def test_an_item_is_appended_where_the_value_ends(config: conf.SlurmConfig) -> None:
    edit = conf.append_to_value(conf.partitions_of(config)["two"]["statement"], "nodes", "x")
    text = conf.apply_edits(config.files, [edit])["/etc/slurm/slurm.conf"]
    assert text == FILES["/etc/slurm/slurm.conf"].replace("\nn2 State", "\nn2,x State")


def test_a_quoted_value_grows_inside_its_quotes(config: conf.SlurmConfig) -> None:
    edit = conf.append_to_value(config.of_kind("NodeName")[1], "Features", "c")
    assert '"a,b,c"' in conf.apply_edits(config.files, [edit])["/etc/slurm/slurm.conf"]


def test_a_parameter_is_put_behind_a_quoted_name(config: conf.SlurmConfig) -> None:
    edit = conf.insert_after_name(config, config.of_kind("NodeSet")[0], "Nodes=x")
    assert conf.apply_edits(config.files, [edit]) == {"/opt/linux.conf": 'NodeSet="s" Nodes=x Feature=gpu'}


def test_several_edits_of_one_file_do_not_disturb_each_other() -> None:
    config = config_of("PartitionName=a Nodes=n1\r\nPartitionName=b Nodes=n2\r\n")
    edits = [conf.append_to_value(one, "Nodes", "x") for one in config.of_kind("PartitionName")]
    text = conf.apply_edits(config.files, edits)["/c"]
    assert text == "PartitionName=a Nodes=n1,x\r\nPartitionName=b Nodes=n2,x\r\n"


def test_an_empty_value_is_filled() -> None:
    config = config_of("GresTypes=\nA=1\n")
    edit = conf.append_to_value(config.settings("GresTypes")[0], "GresTypes", "gpu")
    assert conf.apply_edits(config.files, [edit])["/c"] == "GresTypes=gpu\nA=1\n"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("A=1\n", "A=1\nInclude x\n"),
        ("A=1", "A=1\n# Before slurmscale added the next line, this file had no line feed at its end.\nInclude x\n"),
        ("A=1\r\n", "A=1\r\nInclude x\r\n"),
        ("A=1 \\\n", "A=1 \\\n \nInclude x\n"),
        ("# no continuation \\\n", "# no continuation \\\nInclude x\n"),
        ("", "Include x\n"),
    ],
)
def test_a_line_is_added_after_any_end(text: str, whole: str) -> None:
    assert conf.append_line(text, "Include x") == whole
    assert conf.remove_line(whole, "Include x") == text


def test_an_escaped_hash_is_no_comment() -> None:
    assert config_of(r"A=x\#y # z").value("A") == r"x\#y"


def test_a_form_feed_ends_no_line() -> None:
    assert config_of("A=1 # x\fB=2\nC=3\n").value("B") == ""
    assert config_of("A=1 # x\fB=2\nC=3\n").settings("C")[0].number == 2


def test_bytes_that_are_no_utf8_survive(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(b"# M\xfcller\r\nA=1\r\n")
    text = conf.read_text(str(path))
    assert text.encode("utf-8", "surrogateescape") == b"# M\xfcller\r\nA=1\r\n"
