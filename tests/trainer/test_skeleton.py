"""Templates that only copy content are told from those whose output depends on it, and are filled in exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stock_templates import STOCK
from transformers.utils.chat_template_utils import _compile_jinja_template

from finetune_trainer.data.problems import RowError
from finetune_trainer.data.rows import Turn
from finetune_trainer.data.skeleton import Skeletons, copies_content

LOOP = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
COPIES = [
    LOOP,
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] | trim + eos_token }}{% endfor %}",
    "{% for m in messages %}{% set text = m.role ~ ': ' ~ m.content %}{{ text }}{% endfor %}",
    "{% set first = messages[0].content if messages[0].role == 'system' else '' %}{{ first }}"
    "{% for m in messages[1:] %}{% if not loop.last %}{{ m.content }}{% endif %}{% endfor %}",
    "{% set ns = namespace(seen=false) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.seen = true %}{% endif %}{% if ns.seen and m.content is string %}{{ m.content }}{% endif %}{% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ m.content }}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{% if 'tool_calls' in m or m.tool_calls %}tool{% endif %}{{ m.content }}{% endfor %}",
    "{% if messages %}{{ (messages | last).content }}{% endif %}{{ messages | length }}",
    "{% if messages | length > 4 %}{{ raise_exception('too many') }}{% endif %}" + LOOP,
]
DECIDES = [
    "{% for m in messages %}{% if '</think>' in m.content %}x{% endif %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{% if m.content %}{{ m.content }}{% endif %}{% endfor %}",
    "{% for m in messages %}{{ m.content.split('x')[-1] }}{% endfor %}",
    "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
    "{% for m in messages %}{{ m.content | trim('x') }}{% endfor %}",
    "{% for m in messages %}{{ m.content[0] }}{% endfor %}",
    "{% for m in messages %}{{ m.content * 2 }}{% endfor %}",
    "{% for m in messages %}{{ 'x' if m.content == 'x' else 'y' }}{% endfor %}",
    "{% for m in messages %}{{ m | tojson }}{% endfor %}",
    "{% for m in messages %}{{ m.values() | list }}{% endfor %}",
    "{% for m in messages %}{{ m['values']() | list }}{% endfor %}",
    "{% for m in messages %}{{ m[m.role] }}{% endfor %}",
    "{% for m in messages %}{% for letter in m.content %}{{ letter }}.{% endfor %}{% endfor %}",
    "{% for m in messages %}{% if loop.previtem and loop.previtem.content == 'x' %}y{% endif %}{% endfor %}",
    "{% for m in messages %}{% if loop.changed(m.content) %}y{% endif %}{% endfor %}",
    "{% set l = [messages] %}{{ l | string | length }}",
    "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = m.content %}{% endfor %}{{ ns.t | length }}",
    "{% for m in messages %}{% if t == 'x' %}y{% endif %}{% set t = m.content %}{% endfor %}{% set t = 'x' %}",
    "{% set c = messages[0].content %}{% if c == 'x' %}y{% endif %}",
    "{% for a in [1, 2] %}{% if c == 'x' %}y{% endif %}{% set c = messages[0].content %}{% endfor %}",
    "{% macro say(m) %}{{ m.content | length }}{% endmacro %}{{ say(messages[0]) }}",
    "{% set c %}{{ messages[0].content }}{% endset %}{{ c | length }}",
    "{% filter upper %}{{ messages[0].content }}{% endfilter %}",
    "{{ messages | map(attribute='content') | join('x') }}",
    "{{ messages | selectattr('content', 'equalto', 'x') | list | length }}",
    "{{ '%s' | format(messages[0].content) }}",
    "{{ range(messages[0].content | length) | list }}",
    "{% with c = messages[0].content %}{{ c | length }}{% endwith %}",
    "{{ '\ue0020\ue003' }}" + LOOP,
    "\ue0020\ue003" + LOOP,
]


def copies(source: str) -> bool:
    return copies_content(_compile_jinja_template(source).environment.parse(source))


@pytest.mark.parametrize("source", COPIES)
def test_a_template_that_only_copies_content_is_known_as_one(source):
    assert copies(source)


@pytest.mark.parametrize("source", DECIDES)
def test_a_template_in_which_content_may_decide_anything_is_not(source):
    assert not copies(source)


@pytest.mark.parametrize("name", sorted(STOCK))
def test_stock_templates_only_copy_unless_they_cut_reasoning_out(name):
    assert copies(STOCK[name].template) == ("</think>" not in STOCK[name].template)


def rendering(source: str):
    """A template as it is rendered for every row."""
    template = _compile_jinja_template(source)

    def render(turns, generate):
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        try:
            return template.render(messages=messages, add_generation_prompt=generate, bos_token="<s>", eos_token="</s>")
        except Exception as error:
            raise RowError(str(error), "change it") from error

    return render


def outcome(render, turns, generate) -> str:
    try:
        return render(turns, generate)
    except RowError as error:
        return f"refused: {error}"


COPIED = [*COPIES, *(stock.template for stock in STOCK.values() if copies(stock.template))]
CONTENT = st.text(max_size=8) | st.sampled_from(["", " a", "a\n", "\u00a0", "{{ 1 }}", "\ue0020\ue003", "<|im_end|>"])
TALKS = st.lists(st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), CONTENT, CONTENT), min_size=1)


@pytest.mark.parametrize("source", COPIED)
@given(talks=st.lists(st.tuples(TALKS, st.booleans()), max_size=5))
def test_filled_skeletons_are_what_rendering_gives_refusals_too(source, talks):
    render = rendering(source)
    skeletons = Skeletons(render, longest=1000)
    for turns, generate in talks:
        assert outcome(skeletons, turns, generate) == outcome(render, turns, generate)


def test_an_order_of_roles_is_rendered_once_however_many_rows_have_it():
    rendered = []

    def render(turns, generate):
        rendered.append(turns)
        return rendering(LOOP)(turns, generate)

    skeletons = Skeletons(render, longest=1000)
    texts = [skeletons([Turn("user", f"question {number}")], False) for number in range(5)]
    assert texts == [f"<user>question {number}</s>" for number in range(5)]
    assert len(rendered) == 1


def test_a_text_beyond_the_limit_is_left_to_the_template_which_refuses_it():
    def render(turns, generate):
        if len(turns[0].content) > 99:
            raise RowError("it writes too much", "shorten it")
        return turns[0].content

    with pytest.raises(RowError, match="writes too much"):
        Skeletons(render, longest=99)([Turn("user", "x" * 100)], False)
