# why: an event loop needs no pipe to itself where nothing runs beside it
# expect: exit 0
import asyncio


async def after(i):
    await asyncio.sleep(i)
    return i


async def main():
    print(await asyncio.gather(*map(after, range(3))))
    queue = asyncio.Queue()

    async def produce():
        for i in range(3):
            await queue.put(i)
            await asyncio.sleep(0)

    async def consume():
        return [await queue.get() for _ in range(3)]

    print(await asyncio.gather(produce(), consume()))
    try:
        await asyncio.wait_for(asyncio.sleep(10), 1)
    except asyncio.TimeoutError:
        print("timeout")
    print(await asyncio.to_thread(lambda: 7))

asyncio.run(main())
# stdout: [0, 1, 2]
# stdout: [None, [0, 1, 2]]
# stdout: timeout
# stdout: 7
