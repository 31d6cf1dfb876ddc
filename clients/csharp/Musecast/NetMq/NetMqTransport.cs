using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Streaming;
using NetMQ;
using NetMQ.Sockets;

namespace Musecast.NetMq
{
    /// <summary>CURVE keys, 32 bytes each: the server's, and a pair that the daemon lists.</summary>
    public sealed record CurveKeys(byte[] ServerPublic, byte[] Public, byte[] Secret);

    /// <summary>The daemon's sockets over NetMQ, all of them on one thread.</summary>
    public sealed class NetMqTransport : ITransport
    {
        private readonly NetMQPoller _poller = new NetMQPoller();
        private readonly string _control;
        private readonly string _stream;
        private readonly CurveKeys? _keys;

        /// <summary>Addresses such as <c>tcp://127.0.0.1:28880</c> and <c>tcp://127.0.0.1:28881</c>.</summary>
        public NetMqTransport(string control, string stream, CurveKeys? keys = null)
        {
            (_control, _stream, _keys) = (control, stream, keys);
            _poller.RunAsync("musecast");
        }

        /// <inheritdoc/>
        public IMessageSocket OpenControl() =>
            new Socket(_poller, Made(new DealerSocket()), _control, new Inbox(4096, 256L << 20));

        /// <inheritdoc/>
        public IMessageSocket OpenStream(IReadOnlyList<string> topics)
        {
            var subscriber = Made(new SubscriberSocket());
            foreach (var topic in topics)
            {
                subscriber.Subscribe(topic);
            }

            return new Socket(_poller, subscriber, _stream, new Inbox());
        }

        /// <summary>Stop the thread; close the sockets first.</summary>
        public void Dispose()
        {
            if (_poller.IsRunning)
            {
                _poller.Stop();
            }

            _poller.Dispose();
        }

        private T Made<T>(T socket)
            where T : NetMQSocket
        {
            var options = socket.Options;
            options.Linger = TimeSpan.Zero;
            options.SendHighWatermark = 4096;
            options.ReceiveHighWatermark = 4096;
            options.HeartbeatInterval = TimeSpan.FromSeconds(1); // a lost network is noticed, and connected again
            options.HeartbeatTimeout = TimeSpan.FromSeconds(5);
            options.IPv4Only = !_control.Contains("[") && !_stream.Contains("[");
            if (_keys != null)
            {
                options.CurveServerCertificate = NetMQCertificate.FromPublicKey(_keys.ServerPublic);
                options.CurveCertificate = new NetMQCertificate(_keys.Secret, _keys.Public);
            }

            return socket;
        }

        private sealed class Socket : IMessageSocket
        {
            private readonly NetMQPoller _poller;
            private readonly NetMQSocket _socket;
            private readonly NetMQQueue<byte[]> _outbox = new NetMQQueue<byte[]>();
            private readonly Inbox _inbox;
            private int _closed;

            public Socket(NetMQPoller poller, NetMQSocket socket, string address, Inbox inbox)
            {
                (_poller, _socket, _inbox) = (poller, socket, inbox);
                socket.Connect(address);
                socket.ReceiveReady += (_, _) => Receive();
                _outbox.ReceiveReady += (_, _) => SendAll();
                poller.Add(socket);
                poller.Add(_outbox);
            }

            public void Send(byte[] frame) => _outbox.Enqueue(frame);

            public Task<byte[][]?> ReceiveAsync(TimeSpan wait, CancellationToken cancel) => _inbox.ReceiveAsync(wait, cancel);

            public byte[][]? TryReceive() => _inbox.TryReceive();

            public void Dispose()
            {
                if (Interlocked.Exchange(ref _closed, 1) == 0)
                {
                    _poller.RemoveAndDispose(_outbox);
                    _poller.RemoveAndDispose(_socket);
                }
            }

            private void Receive()
            {
                List<byte[]>? frames = null;
                for (var left = 64; left > 0 && _socket.TryReceiveMultipartBytes(ref frames); left--)
                {
                    _inbox.Post(frames!.ToArray()); // full: lost, and read back
                    frames = null;
                }
            }

            private void SendAll()
            {
                while (_outbox.TryDequeue(out var frame, TimeSpan.Zero))
                {
                    ((IOutgoingSocket)_socket).TrySendFrame(frame);
                }
            }
        }
    }
}
