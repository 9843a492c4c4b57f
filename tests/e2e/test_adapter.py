"""The adapter in S3 loads with plain transformers and peft, in another process, and scores what status says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from team import Team

pytestmark = pytest.mark.cluster

# Deliberately none of our code: what a user of the adapter would write.
SCORE = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter, rows = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(base)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
total, count = 0.0, 0
for line in open(rows):
    row = json.loads(line)
    turns = [{"role": "user", "content": row["instruction"]}, {"role": "assistant", "content": row["response"]}]
    prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    text = tokenizer.apply_chat_template(turns, tokenize=False).rstrip("\\n")  # the answer ends with its turn
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, return_tensors="pt")
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"][0]
    answer = offsets[:, 0] >= len(prompt)
    with torch.no_grad():
        log = torch.log_softmax(model(ids).logits[0, :-1].float(), dim=-1)
    loss = -log.gather(1, ids[0, 1:, None])[:, 0]
    total, count = total + loss[answer[1:]].sum().item(), count + int(answer[1:].sum())
print(json.dumps({"loss": total / count}))
"""


def test_plain_peft_scores_the_adapter_as_status_says(finished: Team, tiny_model: Path, tmp_path: Path) -> None:
    team, status = finished, finished.get("finished")["status"]
    adapter, rows = tmp_path / "adapter", tmp_path / "test.jsonl"
    objects = team.storage.list_objects(status["artifact"]["uri"])
    team.storage.download(objects, adapter)
    rows.write_bytes(team.storage.read(f"s3://{team.bucket}/e2e/{team.run}/finished/test.jsonl") or b"")
    command = [sys.executable, "-c", SCORE, str(tiny_model), str(adapter), str(rows)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    reported = next(m for m in status["evaluation"]["metrics"] if m["name"] == "loss")
    assert json.loads(printed.splitlines()[-1])["loss"] == pytest.approx(float(reported["tuned"]), abs=1e-3)
