using System;
using System.Diagnostics;
using System.Net.Http;
using System.Threading.Tasks;
using Musecast.Http;

namespace Musecast.Tests
{
    /// <summary>A gateway that dies. It is there for this alone: in which order cases run is the test framework's.</summary>
    public static class KilledGatewayCases
    {
        /// <summary>The gateway's address; MUSECAST_GATEWAY_TO_KILL_PID is its process.</summary>
        public const string Needs = "MUSECAST_GATEWAY_TO_KILL";

        public static async Task AGatewayThatIsKilledInTheMiddleLeavesNothingHanging()
        {
            using var http = new HttpClient { BaseAddress = new Uri(Case.Setting(Needs)!), Timeout = TimeSpan.FromMinutes(2) };
            var avatar = new MusecastHttp(http);
            var session = await avatar.StartSessionAsync();
            var speaking = avatar.ProcessSegmentAsync(session.SessionId, Voice.Wav(20), last: true);
            await GatewayCases.Spoken(avatar, session.SessionId);
            Process.GetProcessById(int.Parse(Case.Setting("MUSECAST_GATEWAY_TO_KILL_PID")!)).Kill();
            await Check.Refused(ErrorCodes.NotReady, () => GatewayCases.Within(speaking));
            Check.That(!await avatar.IsHealthyAsync(), "not healthy");
        }
    }
}
