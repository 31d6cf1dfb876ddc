using System;
using System.Threading;
using System.Threading.Tasks;
using Musecast.NetMq;
using Musecast.Streaming;
using NetMQ;

namespace Musecast.Tests
{
    /// <summary>A real daemon whose sockets take only listed keys.</summary>
    public static class KeyCases
    {
        /// <summary>Control and stream address, the server's public key, and a pair with the scope "watch", with spaces between.</summary>
        public const string Needs = "MUSECAST_KEYS";

        public static async Task AKeyMayWhatItsScopeSays()
        {
            var told = Case.Setting(Needs)!.Split(' ');
            var pair = new NetMQCertificate(told[4], told[3]);
            var keys = new CurveKeys(NetMQCertificate.FromPublicKey(told[2]).PublicKey, pair.PublicKey, pair.SecretKey!);
            using var transport = new NetMqTransport(told[0], told[1], keys);
            using var control = new MusecastControl(transport);
            Check.That((await control.RequestAsync("health")).Text("status") is "ok" or "degraded", "an answer");
            await Check.Refused(ErrorCodes.Unauthenticated, () => control.RequestAsync("drain"));
            using var beacons = transport.OpenStream(new[] { "sys." });
            Check.That(await beacons.ReceiveAsync(TimeSpan.FromSeconds(60), CancellationToken.None) != null, "the stream");
        }

        public static async Task WithoutAKeyNobodyAnswers()
        {
            var told = Case.Setting(Needs)!.Split(' ');
            using var transport = new NetMqTransport(told[0], told[1]);
            using var control = new MusecastControl(transport);
            await Check.Refused(ErrorCodes.NotReady, () => control.RequestAsync("health", null, TimeSpan.FromSeconds(2)));
        }
    }
}
