using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace Musecast.Streaming
{
    /// <summary>The way to a daemon's two sockets; it connects again by itself.</summary>
    public interface ITransport : IDisposable
    {
        /// <summary>A DEALER at the control address.</summary>
        IMessageSocket OpenControl();

        /// <summary>A SUB at the stream address with these topic prefixes.</summary>
        IMessageSocket OpenStream(IReadOnlyList<string> topics);
    }

    /// <summary>A socket of messages, each of one or more frames. One reader at a time; anybody may send.</summary>
    public interface IMessageSocket : IDisposable
    {
        /// <summary>Send a message of one frame; never waits. What cannot be sent is lost, as on any network.</summary>
        void Send(byte[] frame);

        /// <summary>The next message; null when none comes in time.</summary>
        Task<byte[][]?> ReceiveAsync(TimeSpan wait, CancellationToken cancel);

        /// <summary>A message that has come already; null when there is none.</summary>
        byte[][]? TryReceive();
    }

    /// <summary>Messages that have come and were not read: what a transport receives into. Bounded.</summary>
    public sealed class Inbox : IDisposable
    {
        private readonly Queue<byte[][]> _messages = new Queue<byte[][]>();
        private readonly SemaphoreSlim _count = new SemaphoreSlim(0);
        private readonly int _maxMessages;
        private readonly long _maxBytes;
        private long _bytes;

        /// <summary>An empty one.</summary>
        public Inbox(int maxMessages = 4096, long maxBytes = 64L << 20)
        {
            _maxMessages = maxMessages;
            _maxBytes = maxBytes;
        }

        /// <summary>Add a message; false when it is full and the message is lost: a hole, which the reader repairs.</summary>
        public bool Post(byte[][] message)
        {
            var size = SizeOf(message);
            lock (_messages)
            {
                if (_messages.Count >= _maxMessages || (_messages.Count > 0 && _bytes + size > _maxBytes))
                {
                    return false;
                }

                _messages.Enqueue(message);
                _bytes += size;
            }

            _count.Release();
            return true;
        }

        /// <summary>The next message; null when none comes in time.</summary>
        public async Task<byte[][]?> ReceiveAsync(TimeSpan wait, CancellationToken cancel) =>
            await _count.WaitAsync(wait, cancel).ConfigureAwait(false) ? Next() : null;

        /// <summary>A message that is there; null when there is none.</summary>
        public byte[][]? TryReceive() => _count.Wait(0) ? Next() : null;

        /// <inheritdoc/>
        public void Dispose() => _count.Dispose();

        private static long SizeOf(byte[][] message)
        {
            long size = 0;
            foreach (var frame in message)
            {
                size += frame.Length;
            }

            return size;
        }

        private byte[][] Next()
        {
            lock (_messages)
            {
                var message = _messages.Dequeue();
                _bytes -= SizeOf(message);
                return message;
            }
        }
    }
}
