"""Runs a request's own extraction logic on a completion. Standard library only.

Reads {"completion", "logic"} from standard input; the logic finds `completion`, `CodeBlock` and
`submit_code_blocks`, and its blocks go to descriptor 3 as one JSON list.
"""
import json
import os
import sys


class CodeBlock:
    def __init__(self, priority, language, code):
        self.priority, self.language, self.code = int(priority), str(language), str(code)


given = json.loads(sys.stdin.buffer.read().decode("utf-8"))
blocks = []


def submit_code_blocks(found):
    for block in found:
        assert isinstance(block, CodeBlock), "code blocks must be of class CodeBlock"
        blocks.append({"priority": block.priority, "language": block.language, "code": block.code})


exec(given["logic"], {
    "CodeBlock": CodeBlock,
    "completion": given["completion"],
    "submit_code_blocks": submit_code_blocks,
})
data = json.dumps(blocks).encode("ascii")
while data:
    data = data[os.write(3, data):]
