using System.Collections.Generic;
using System.Linq;
using System.Threading.Tasks;
using Xunit;

namespace Musecast.Tests
{
    public sealed class AllCases
    {
        public static IEnumerable<object[]> Names() => Case.Runnable().Select(one => new object[] { one.Name });

        [Theory]
        [MemberData(nameof(Names))]
        public Task Holds(string name) => Case.Runnable().Single(one => one.Name == name).RunAsync();
    }
}
