using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Messages;
using Musecast.Streaming;

namespace Musecast.Tests
{
    /// <summary>Requests over the fake daemon.</summary>
    public static class ControlCases
    {
        public static async Task RepliesMayComeInAnyOrder()
        {
            using var socket = new Manual();
            using var control = new MusecastControl(socket);
            var asked = Enumerable.Range(0, 20).Select(one => control.SayAsync("s", "text " + one)).ToList();
            foreach (var request in socket.Requests.ToArray().Reverse())
            {
                var turn = long.Parse(request.Text("text")!.Substring(5));
                socket.Control.Post(new[] { MessagePack.Write(new Map { { "v", 1 }, { "id", request["id"] }, { "ok", true }, { "turn", turn } }) });
            }

            Check.Same(Enumerable.Range(0, 20), await Task.WhenAll(asked), "turns");
        }

        public static async Task ARefusalHasItsCodeAndWhenToTryAgain()
        {
            using var daemon = new FakeDaemon
            {
                Answer = _ => new Map
                {
                    { "v", 1 }, { "ok", false },
                    { "error", new Map { { "code", "BUSY" }, { "message", "8 turns wait" }, { "retry_after_ms", 400 } } },
                },
            };
            using var control = new MusecastControl(daemon);
            var error = await Check.Refused(ErrorCodes.Busy, () => control.SayAsync("s", "a"));
            Check.Equal(TimeSpan.FromMilliseconds(400), error.RetryAfter, "when to try again");
            Check.Equal("8 turns wait", error.Reason, "the words");
        }

        public static async Task WhatIsNotAnsweredInTimeIsNotReady()
        {
            using var daemon = new FakeDaemon { Answer = _ => null };
            using var control = new MusecastControl(daemon);
            await Check.Refused(ErrorCodes.NotReady, () => control.RequestAsync("health", null, TimeSpan.FromMilliseconds(100)));
            using var cancel = new CancellationTokenSource(100);
            await Check.Throws<OperationCanceledException>(() => control.RequestAsync("health", null, null, cancel.Token));
            var waiting = control.RequestAsync("health");
            control.Dispose();
            await Check.Refused(ErrorCodes.NotReady, () => waiting);
        }

        public static async Task ADaemonThatWasStartedAnewAnswersNothingOfItsPredecessor()
        {
            using var daemon = new FakeDaemon { Answer = _ => null };
            using var control = new MusecastControl(daemon);
            daemon.Beacon(5);
            daemon.Beacon(6);
            var waiting = control.RequestAsync("initialize");
            daemon.Boot = "b2";
            daemon.Beacon(0);
            await Check.Refused(ErrorCodes.NotReady, () => waiting);
        }

        public static async Task WhereTheBrokerAloneWasItIsAskedAgain()
        {
            using var daemon = new FakeDaemon { Answer = _ => null };
            using var control = new MusecastControl(daemon);
            daemon.Beacon(5);
            var waiting = control.RequestAsync("keep_alive");
            daemon.Answer = _ => new Map { { "v", 1 }, { "ok", true }, { "again", true } };
            daemon.Beacon(0);
            Check.That((await waiting).Flag("again"), "the answer of the second asking");
        }

        public static async Task ASilentDaemonIsGone()
        {
            using var daemon = new FakeDaemon { Answer = _ => null };
            using var control = new MusecastControl(daemon);
            var begun = DateTime.UtcNow;
            await Check.Refused(ErrorCodes.NotReady, () => control.RequestAsync("initialize"));
            Check.That(DateTime.UtcNow - begun < TimeSpan.FromSeconds(30), "long before the limit of 15 minutes");
        }

        public static async Task WhatIsNoReplyHarmsNothing()
        {
            using var socket = new Manual();
            using var control = new MusecastControl(socket);
            var waiting = control.RequestAsync("health");
            socket.Control.Post(new[] { new byte[] { 0xc1 } });
            socket.Control.Post(new[] { MessagePack.Write(new Map { { "id", "another" }, { "ok", true } }) });
            socket.Control.Post(new[] { MessagePack.Write(new Map { { "id", socket.Requests[0]["id"] }, { "ok", true }, { "status", "ok" } }) });
            Check.Equal("ok", (await waiting).Text("status"), "the reply");
        }

        /// <summary>Sockets that a case fills by hand.</summary>
        private sealed class Manual : ITransport, IMessageSocket
        {
            public List<Map> Requests { get; } = new List<Map>();

            public Inbox Control { get; } = new Inbox();

            public IMessageSocket OpenControl() => this;

            public IMessageSocket OpenStream(IReadOnlyList<string> topics) => new Manual();

            public void Send(byte[] frame) => Requests.Add(MessagePack.ReadMap(frame));

            public Task<byte[][]?> ReceiveAsync(TimeSpan wait, CancellationToken cancel) => Control.ReceiveAsync(wait, cancel);

            public byte[][]? TryReceive() => Control.TryReceive();

            public void Dispose()
            {
            }
        }
    }
}
