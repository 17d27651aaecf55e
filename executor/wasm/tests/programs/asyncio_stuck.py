# why: a loop that waits for nothing is over at once, by its limit on wall time
# expect: limit wall_time
import asyncio


async def main():
    await asyncio.Event().wait()

asyncio.run(main())
