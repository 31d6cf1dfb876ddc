using System;
using System.Linq;
using System.Threading.Tasks;

namespace Musecast.Tests
{
    /// <summary>Runs the cases without a test framework: <c>Runner [PART OF A NAME]</c>; exit code 1 when one fails.</summary>
    public static class Program
    {
        public static async Task<int> Main(string[] arguments)
        {
            var failed = 0;
            var cases = Case.Runnable().Where(one => arguments.Length == 0 || one.Name.Contains(arguments[0])).ToList();
            foreach (var one in cases)
            {
                try
                {
                    await one.RunAsync();
                    Console.WriteLine("ok    " + one.Name);
                }
                catch (Exception error)
                {
                    failed++;
                    Console.WriteLine("FAIL  " + one.Name + "\n" + error);
                }
            }

            Console.WriteLine(cases.Count - failed + " of " + cases.Count + " hold");
            return failed == 0 && cases.Count > 0 ? 0 : 1;
        }
    }
}
