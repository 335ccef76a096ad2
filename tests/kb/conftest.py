import pytest

from dualway.schema import Entity, Picture, Representation


@pytest.fixture
def people() -> list[Entity]:
    """Two homonyms, four scripts, several texts of one kind, and one entity with nothing but its name."""
    return [
        Entity(
            "Q9294",
            "Adam Smith",
            aliases=("Smith", "亞當·史密斯"),
            types=("human", "philosopher"),
            representations=(
                Representation("properties", "Sex: male. Birth: 1723, Kirkcaldy.", source="qid2abs.json"),
                Representation(
                    "static",
                    "Adam Smith was a Scottish economist.",
                    source="wikipedia",
                    language="en",
                    revision="1187",
                    licence="CC BY-SA 4.0",
                    created_at="2026-01-02",
                ),
                Representation("static", "Adam Smith war ein schottischer Ökonom.", source="wikipedia", language="de"),
            ),
            pictures=(Picture("pictures/smith.jpg", "commons", "public domain"), Picture("smith2.jpg")),
        ),
        Entity("Q350735", "Adam Smith", representations=(Representation("properties", "Birth: 1965."),)),
        Entity("Q23505", "ジョージ", aliases=("George",)),
        Entity("Q1001", "महात्मा गांधी", types=("human",)),
        Entity("Q1373", "أم كلثوم", representations=(Representation("static", "مغنية"),)),
        Entity("Q42", "Дуглас Адамс"),
    ]
